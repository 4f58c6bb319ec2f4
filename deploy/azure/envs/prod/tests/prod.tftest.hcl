# One assertion for each property, with the changes ("# flip FILE | WAS | IS | N", N
# the occurrence) that have to make it fail; test/azure makes them.

mock_provider "azurerm" {}

variables {
  subscription_id   = "00000000-0000-0000-0000-000000000001"
  tenant_id         = "00000000-0000-0000-0000-000000000000"
  name              = "plant"
  repository        = "https://git.example.com/postroad"
  admin_group_ids   = ["00000000-0000-0000-0000-000000000004"]
  api_server_ranges = ["192.0.2.0/24"]
  site_addresses    = ["198.51.100.7"]
  alert_emails      = { duty = "duty@example.com" }
  green_host        = "green.example.com"
  blue_host         = "blue.example.com"
}

run "application_gateway" {
  command = plan

  assert {
    # flip main.tf | location = "eastus2" | location = "westus3"
    # flip main.tf | location = "centralus" | location = "westus3"
    condition     = module.green.cluster.location == "eastus2" && module.blue.cluster.location == "centralus"
    error_message = "green in East US 2, blue in Central US"
  }

  assert {
    # flip main.tf | address_space = "10.41.0.0/16" | address_space = "10.40.0.0/16"
    condition     = module.green.address_space[0] == "10.40.0.0/16" && module.blue.address_space[0] == "10.41.0.0/16"
    error_message = "addresses do not overlap"
  }

  assert {
    # flip main.tf | priority = 1 | priority = 2
    # flip main.tf | priority = 2 | priority = 1
    condition     = module.global.origins["cloud-green"].priority == 1 && module.global.origins["cloud-blue"].priority == 2
    error_message = "green is the primary"
  }

  assert {
    # flip main.tf | weight = 500 | weight = 1 | 1
    # flip main.tf | weight = 500 | weight = 1 | 2
    condition     = alltrue([for o in module.global.origins : o.weight == 500])
    error_message = "weights are set"
  }

  assert {
    # flip main.tf | enabled = !var.private_link || var.green_frontend_id != null | enabled = false
    # flip main.tf | enabled = !var.private_link || var.blue_frontend_id != null | enabled = false
    condition     = alltrue([for o in module.global.origins : o.enabled && !o.private])
    error_message = "both stamps are origins"
  }

  assert {
    # flip main.tf | application_gateway = !var.private_link | application_gateway = false | 1
    # flip main.tf | application_gateway = !var.private_link | application_gateway = false | 2
    condition     = module.green.application_gateway && module.blue.application_gateway
    error_message = "stamps are reached by an Application Gateway"
  }

  assert {
    # flip main.tf | replica_locations = [local.blue.location] | replica_locations = []
    condition     = module.global.registry_locations == ["eastus2", "centralus"]
    error_message = "images are in both regions"
  }

  assert {
    # flip main.tf | source = "../../modules/stamp" name | source = "../../modules/stamp"\n\n  share = { protocol = "SMB" }\n  name | 1
    # flip main.tf | source = "../../modules/stamp" name | source = "../../modules/stamp"\n\n  share = { protocol = "SMB" }\n  name | 2
    condition     = alltrue([for s in [module.green.share, module.blue.share] : s.replication == "ZRS" && s.protocol == "NFS"])
    error_message = "shares are NFS in three zones"
  }

  assert {
    # flip main.tf | upgrade_day = "Thursday" | upgrade_day = "Monday"
    # flip main.tf | upgrade_day = "Tuesday" | upgrade_day = "Friday"
    condition     = module.blue.cluster.upgrade_day == "Tuesday" && module.green.cluster.upgrade_day == "Thursday"
    error_message = "blue is upgraded two days before green"
  }

  assert {
    # flip main.tf | upgrade_day = "Thursday" | upgrade_day = "Thursday"\n    max_nodes = 3
    # flip main.tf | upgrade_day = "Tuesday" | upgrade_day = "Tuesday"\n    max_nodes = 3
    condition     = alltrue([for c in [module.green.cluster, module.blue.cluster] : c.nodes[0] == 3 && c.nodes[1] == 5 && length(c.zones) == 3])
    error_message = "three to five nodes in three zones"
  }
}

run "private_link_before_the_balancers" {
  command = plan

  variables {
    private_link = true
  }

  assert {
    # flip main.tf | enabled = !var.private_link || var.green_frontend_id != null | enabled = true
    # flip main.tf | enabled = !var.private_link || var.blue_frontend_id != null | enabled = true
    condition     = alltrue([for o in module.global.origins : !o.enabled])
    error_message = "origins that are not there get nothing"
  }
}

run "private_link" {
  command = plan

  variables {
    private_link      = true
    green_frontend_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/n/providers/Microsoft.Network/loadBalancers/kubernetes-internal/frontendIPConfigurations/f"
    blue_frontend_id  = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/m/providers/Microsoft.Network/loadBalancers/kubernetes-internal/frontendIPConfigurations/f"
    site_cluster_id   = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/sites/providers/Microsoft.Kubernetes/connectedClusters/plant"
  }

  assert {
    # flip main.tf | private_link = module.green.private_link | private_link = null
    # flip main.tf | private_link = module.blue.private_link | private_link = null
    condition     = alltrue([for o in module.global.origins : o.enabled && o.private])
    error_message = "both stamps are reached through Private Link"
  }

  assert {
    # flip main.tf | count = var.site_cluster_id == null ? 0 : 1 | count = 0
    condition     = length(module.site) == 1
    error_message = "the site is there"
  }

  assert {
    # flip main.tf | existing_cluster_id = var.site_cluster_id | existing_cluster_id = replace(var.site_cluster_id, "/plant", "/other")
    condition     = endswith(module.site[0].cluster_id, "/connectedClusters/plant")
    error_message = "the site is the cluster that is connected"
  }
}
