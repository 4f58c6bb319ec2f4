# One assertion for each property, with the changes ("# flip FILE | WAS | IS | N", N
# the occurrence) that have to make it fail; test/azure makes them.

mock_provider "azurerm" {
  # What the provider looks at before it takes it.
  mock_resource "azurerm_cdn_frontdoor_custom_domain" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Cdn/profiles/made/customDomains/made"
    }
  }

  mock_resource "azurerm_cdn_frontdoor_route" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Cdn/profiles/made/afdEndpoints/made/routes/made"
    }
  }

  mock_resource "azurerm_container_registry_scope_map" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.ContainerRegistry/registries/madehere/scopeMaps/made"
    }
  }

  mock_resource "azurerm_role_definition" {
    defaults = {
      role_definition_resource_id = "/subscriptions/00000000-0000-0000-0000-000000000001/providers/Microsoft.Authorization/roleDefinitions/00000000-0000-0000-0000-00000000000a"
    }
  }

  mock_resource "azurerm_resource_group" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made"
    }
  }

  mock_resource "azurerm_log_analytics_workspace" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.OperationalInsights/workspaces/made"
    }
  }

  mock_resource "azurerm_container_registry" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.ContainerRegistry/registries/madehere"
    }
  }

  mock_resource "azurerm_eventhub_namespace" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.EventHub/namespaces/made"
    }
  }

  mock_resource "azurerm_eventhub" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.EventHub/namespaces/made/eventhubs/messages"
    }
  }

  mock_resource "azurerm_cdn_frontdoor_profile" {
    defaults = {
      id            = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Cdn/profiles/made"
      resource_guid = "00000000-0000-0000-0000-0000000000aa"
    }
  }

  mock_resource "azurerm_cdn_frontdoor_endpoint" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Cdn/profiles/made/afdEndpoints/made"
    }
  }

  mock_resource "azurerm_cdn_frontdoor_origin_group" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Cdn/profiles/made/originGroups/made"
    }
  }

  mock_resource "azurerm_cdn_frontdoor_origin" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Cdn/profiles/made/originGroups/made/origins/made"
    }
  }

  mock_resource "azurerm_cdn_frontdoor_firewall_policy" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Network/frontDoorWebApplicationFirewallPolicies/made"
    }
  }

  mock_resource "azurerm_monitor_action_group" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Insights/actionGroups/made"
    }
  }

  mock_resource "azurerm_virtual_network" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Network/virtualNetworks/made"
    }
  }

  mock_resource "azurerm_subnet" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Network/virtualNetworks/made/subnets/made"
    }
  }

  mock_resource "azurerm_network_security_group" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Network/networkSecurityGroups/made"
    }
  }

  mock_resource "azurerm_public_ip" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Network/publicIPAddresses/made"
    }
  }

  mock_resource "azurerm_web_application_firewall_policy" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Network/applicationGatewayWebApplicationFirewallPolicies/made"
    }
  }

  mock_resource "azurerm_application_gateway" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Network/applicationGateways/made"
    }
  }

  mock_resource "azurerm_user_assigned_identity" {
    defaults = {
      id           = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.ManagedIdentity/userAssignedIdentities/made"
      principal_id = "00000000-0000-0000-0000-000000000007"
      client_id    = "00000000-0000-0000-0000-000000000008"
    }
  }

  mock_resource "azurerm_kubernetes_cluster" {
    defaults = {
      id              = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.ContainerService/managedClusters/made"
      oidc_issuer_url = "https://issuer.example.com/made/"
    }
  }

  mock_resource "azurerm_storage_account" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Storage/storageAccounts/made"
    }
  }

  mock_resource "azurerm_key_vault" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.KeyVault/vaults/made"
    }
  }

  mock_resource "azurerm_private_dns_zone" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Network/privateDnsZones/made"
    }
  }

  mock_resource "azurerm_private_link_service" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Network/privateLinkServices/made"
    }
  }

  mock_resource "azurerm_arc_kubernetes_cluster" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Kubernetes/connectedClusters/made"
    }
  }

  mock_data "azurerm_cdn_frontdoor_profile" {
    defaults = {
      sku_name      = "Premium_AzureFrontDoor"
      resource_guid = "00000000-0000-0000-0000-0000000000fd"
    }
  }

  mock_data "azurerm_kubernetes_cluster" {
    defaults = {
      oidc_issuer_enabled        = true
      oidc_issuer_url            = "https://issuer.example.com/"
      key_vault_secrets_provider = [{ secret_rotation_enabled = true, secret_rotation_interval = "2m", secret_identity = [] }]
      kubelet_identity = [{
        client_id                 = "00000000-0000-0000-0000-000000000003"
        object_id                 = "00000000-0000-0000-0000-000000000002"
        user_assigned_identity_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/theirs/providers/Microsoft.ManagedIdentity/userAssignedIdentities/kubelet"
      }]
    }
  }
}

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

  workflow_repository = "example/postroad"
  vault_ip_rules      = ["192.0.2.8"]
  domain              = "post.example.com"
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
    # flip main.tf | peers = { cloud-blue = { vnet_id = module.blue.vnet_id } } | peers = {}
    # flip main.tf | peers = { cloud-green = { vnet_id = module.green.vnet_id } } | peers = {}
    condition     = module.green.peers == ["cloud-blue"] && module.blue.peers == ["cloud-green"]
    error_message = "the networks are peered, from both sides"
  }

  assert {
    # flip main.tf | environment = "prod" | environment = "dev" | 2
    # flip main.tf | environment = "prod" | environment = "dev" | 3
    condition     = module.green.share.locked && module.blue.share.locked
    error_message = "stamps are held to what prod asks"
  }

  assert {
    # flip main.tf | units = 4 | units = 1
    # flip main.tf | max_units = 20 | max_units = 4
    condition     = module.global.hub_units[0] == 4 && module.global.hub_units[1] == 20
    error_message = "the hub has four throughput units, and grows to twenty"
  }

  assert {
    # flip main.tf | admin_group_ids = var.admin_group_ids | admin_group_ids = [] | 1
    # flip main.tf | admin_group_ids = var.admin_group_ids | admin_group_ids = [] | 2
    # flip main.tf | api_server_ranges = var.api_server_ranges | api_server_ranges = [] | 1
    # flip main.tf | api_server_ranges = var.api_server_ranges | api_server_ranges = [] | 2
    condition     = alltrue([for c in [module.green.cluster, module.blue.cluster] : length(c.admins) == 1 && length(c.reached_by) == 1])
    error_message = "clusters are administered by one group, from named addresses"
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
    # flip main.tf | }, var.site_host == null ? {} : { onprem = { host_name = var.site_host | }, {\n onprem = {\n host_name = "plant.example.com"
    condition     = keys(module.global.origins) == ["cloud-blue", "cloud-green"]
    error_message = "a site that lets nothing in is no origin"
  }

  assert {
    # flip main.tf | flux = { url = var.repository, secret = var.git_secret } | flux = null | 1
    # flip main.tf | flux = { url = var.repository, secret = var.git_secret } | flux = null | 2
    condition     = module.green.flux_path == "./deploy/gitops/clusters/cloud-green" && module.blue.flux_path == "./deploy/gitops/clusters/cloud-blue"
    error_message = "Flux applies each stamp's own folder"
  }

  assert {
    # flip main.tf | application_gateway = local.green_gateway | application_gateway = false
    # flip main.tf | application_gateway = local.blue_gateway | application_gateway = false
    condition     = module.green.application_gateway != null && module.blue.application_gateway != null
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

  assert {
    # flip main.tf | registry = module.global.registry | registry = null | 1
    # flip main.tf | registry = module.global.registry | registry = null | 2
    # flip main.tf | log_workspace = module.global.log_workspace | log_workspace = null | 1
    # flip main.tf | log_workspace = module.global.log_workspace | log_workspace = null | 2
    # flip main.tf | hub = module.global.hub | hub = null | 1
    # flip main.tf | hub = module.global.hub | hub = null | 2
    # flip main.tf | action_group = module.global.action_group | action_group = null | 1
    # flip main.tf | action_group = module.global.action_group | action_group = null | 2
    # flip main.tf | module.global.workflows["cloud-green"].principal_id | module.global.workflows["other"].principal_id
    # flip main.tf | module.global.workflows["cloud-blue"].principal_id | module.global.workflows["other"].principal_id
    condition     = alltrue([for j in [module.green.joined, module.blue.joined] : j.pulls && j.logs && length(j.hub_roles) == 3 && j.alerts == 4 && j.watched])
    error_message = "both stamps pull, log, reach the hub, raise alerts and are watched"
  }

  assert {
    # flip main.tf | cloud-green = module.green.hub_subnet | other = module.green.hub_subnet
    # flip main.tf | cloud-blue = module.blue.hub_subnet | other = module.blue.hub_subnet
    # flip main.tf | ip_rules = var.site_addresses | ip_rules = []
    condition     = module.global.hub_open_to.stamps == tolist(["cloud-blue", "cloud-green"]) && module.global.hub_open_to.addresses == ["198.51.100.7"]
    error_message = "stamps and sites reach the hub"
  }

  assert {
    # flip main.tf | vault_ip_rules = var.vault_ip_rules | vault_ip_rules = [] | 1
    # flip main.tf | vault_ip_rules = var.vault_ip_rules | vault_ip_rules = [] | 2
    condition     = alltrue([for j in [module.green.joined, module.blue.joined] : contains(coalesce(j.vault_ips, []), "192.0.2.8")])
    error_message = "vaults are open to whom they are opened"
  }

  assert {
    # flip main.tf | unlimited = var.site_addresses | unlimited = []
    condition     = module.global.unlimited == tolist(["198.51.100.7"])
    error_message = "a site that comes by the front door is not held to the rate of one client"
  }

  assert {
    # flip main.tf | site_registry_tokens = ["onprem"] | site_registry_tokens = []
    condition     = module.global.site_tokens == ["onprem"]
    error_message = "the site has a token to pull with"
  }

  assert {
    # flip main.tf | stamps = [local.green.name, local.blue.name] | stamps = [local.green.name]
    # flip main.tf | domain = var.domain | domain = null
    condition     = keys(module.global.workflows) == ["cloud-blue", "cloud-green", "release"] && module.global.address == "https://post.example.com"
    error_message = "workflows have identities, and clients a name"
  }
}

run "site_that_lets_the_front_door_in" {
  command = plan

  variables {
    site_host = "plant.example.com"
  }

  assert {
    # flip main.tf | priority = 3 | priority = 1
    condition     = module.global.origins["onprem"].priority == 3 && module.global.origins["onprem"].enabled
    error_message = "the site is the last origin"
  }
}

run "existing" {
  command = plan

  variables {
    existing = {
      resource_group_id    = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/theirs"
      registry_id          = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/theirs/providers/Microsoft.ContainerRegistry/registries/theirs"
      hub_namespace_id     = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/theirs/providers/Microsoft.EventHub/namespaces/theirs"
      frontdoor_profile_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/theirs/providers/Microsoft.Cdn/profiles/theirs"
      log_workspace_id     = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/theirs/providers/Microsoft.OperationalInsights/workspaces/theirs"
    }
    green_existing = { resource_group_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/green" }
    blue_existing  = { resource_group_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/blue" }
  }

  assert {
    # flip main.tf | frontdoor_id = module.global.frontdoor_id | frontdoor_id = "other" | 1
    # flip main.tf | frontdoor_id = module.global.frontdoor_id | frontdoor_id = "other" | 2
    # flip main.tf | existing_frontdoor_profile_id = var.existing.frontdoor_profile_id | existing_frontdoor_profile_id = null
    condition     = alltrue([for s in [module.green, module.blue] : s.application_gateway.lets_in == ["00000000-0000-0000-0000-0000000000fd"]])
    error_message = "stamps let in the front door that is there, and no other"
  }

  assert {
    # flip main.tf | existing_registry_id = var.existing.registry_id | existing_registry_id = null
    condition     = endswith(module.global.registry.id, "/registries/theirs")
    error_message = "the registry that is there is used"
  }

  assert {
    # flip main.tf | existing_hub_namespace_id = var.existing.hub_namespace_id | existing_hub_namespace_id = null
    condition     = endswith(module.global.hub.namespace_id, "/namespaces/theirs")
    error_message = "the hub that is there is used"
  }

  assert {
    # flip main.tf | existing_log_workspace_id = var.existing.log_workspace_id | existing_log_workspace_id = null
    condition     = endswith(module.global.log_workspace.id, "/workspaces/theirs")
    error_message = "the workspace that is there is used"
  }

  assert {
    # flip main.tf | existing_resource_group_id = var.green_existing.resource_group_id | existing_resource_group_id = null
    # flip main.tf | existing_resource_group_id = var.blue_existing.resource_group_id | existing_resource_group_id = null
    condition     = module.green.share.resource_group == "green" && module.blue.share.resource_group == "blue"
    error_message = "stamps are made in the groups that are there"
  }
}

run "existing_clusters" {
  command = plan

  variables {
    green_existing = {
      cluster_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/theirs/providers/Microsoft.ContainerService/managedClusters/green"
      network = {
        vnet_id            = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/theirs/providers/Microsoft.Network/virtualNetworks/green"
        nodes_subnet_id    = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/theirs/providers/Microsoft.Network/virtualNetworks/green/subnets/nodes"
        endpoint_subnet_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/theirs/providers/Microsoft.Network/virtualNetworks/green/subnets/endpoints"
      }
    }
    blue_existing = {
      cluster_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/theirs/providers/Microsoft.ContainerService/managedClusters/blue"
      network = {
        vnet_id            = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/theirs/providers/Microsoft.Network/virtualNetworks/blue"
        nodes_subnet_id    = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/theirs/providers/Microsoft.Network/virtualNetworks/blue/subnets/nodes"
        endpoint_subnet_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/theirs/providers/Microsoft.Network/virtualNetworks/blue/subnets/endpoints"
      }
    }
  }

  assert {
    # flip main.tf | existing_cluster_id = var.green_existing.cluster_id | existing_cluster_id = var.blue_existing.cluster_id
    # flip main.tf | existing_cluster_id = var.blue_existing.cluster_id | existing_cluster_id = var.green_existing.cluster_id
    condition     = endswith(module.green.cluster_id, "/green") && endswith(module.blue.cluster_id, "/blue")
    error_message = "the clusters that are there are used"
  }

  assert {
    # flip main.tf | existing_network = var.green_existing.network | existing_network = var.blue_existing.network
    # flip main.tf | existing_network = var.blue_existing.network | existing_network = var.green_existing.network
    condition     = endswith(module.green.vnet_id, "/green") && endswith(module.blue.vnet_id, "/blue")
    error_message = "the networks that are there are used"
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

  assert {
    # flip main.tf | green_gateway = !var.private_link && | green_gateway =
    # flip main.tf | blue_gateway = !var.private_link && | blue_gateway =
    condition     = module.green.application_gateway == null && module.blue.application_gateway == null
    error_message = "stamps have no way in beside Private Link"
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
    # flip main.tf | origin = !var.private_link || var.green_frontend_id == null ? null : { frontend_id = var.green_frontend_id } | origin = null
    # flip main.tf | origin = !var.private_link || var.blue_frontend_id == null ? null : { frontend_id = var.blue_frontend_id } | origin = null
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
