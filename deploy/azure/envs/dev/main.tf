# One stamp in one region, with a share over SMB in one zone: enough to try a change
# of this code. Nothing here keeps what prod promises.

module "global" {
  source = "../../global"

  name              = var.name
  environment       = "dev"
  location          = "eastus2"
  replica_locations = []

  existing_resource_group_id    = var.existing.resource_group_id
  existing_registry_id          = var.existing.registry_id
  existing_hub_namespace_id     = var.existing.hub_namespace_id
  existing_frontdoor_profile_id = var.existing.frontdoor_profile_id
  existing_log_workspace_id     = var.existing.log_workspace_id

  hub         = { units = 1, max_units = 2, ip_rules = var.site_addresses }
  hub_subnets = { cloud-dev = module.stamp.hub_subnet }
  topics      = { messages = { partitions = 4, retention_hours = 24 } }

  origins = {
    cloud-dev = { host_name = var.host, priority = 1, weight = 500 }
  }

  waf          = { mode = "Detection" }
  alert_emails = var.alert_emails
}

module "stamp" {
  source = "../../modules/stamp"

  name                = "cloud-dev"
  prefix              = var.name
  environment         = "dev"
  location            = "eastus2"
  tenant_id           = var.tenant_id
  address_space       = "10.48.0.0/16"
  application_gateway = var.stamp_existing.cluster_id == null && var.stamp_existing.network == null
  frontdoor_id        = module.global.frontdoor_id

  existing_resource_group_id = var.stamp_existing.resource_group_id
  existing_cluster_id        = var.stamp_existing.cluster_id
  existing_network           = var.stamp_existing.network

  cluster = {
    min_nodes         = 1
    max_nodes         = 3
    zones             = ["1"]
    admin_group_ids   = var.admin_group_ids
    api_server_ranges = var.api_server_ranges
  }

  share         = { protocol = "SMB", replication = "LRS", gib = 100 }
  registry      = module.global.registry
  hub           = module.global.hub
  log_workspace = module.global.log_workspace
  action_group  = module.global.action_group
  flux          = var.repository == null ? null : { url = var.repository }
}
