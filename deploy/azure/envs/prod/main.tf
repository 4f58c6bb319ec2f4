# Two stamps in two regions, each complete and neither in need of the other, behind
# one address; and the site, where it is connected to Azure Arc.

locals {
  green = { name = "cloud-green", location = "eastus2", address_space = "10.40.0.0/16" }
  blue  = { name = "cloud-blue", location = "centralus", address_space = "10.41.0.0/16" }

  # Without Private Link a stamp has a gateway of ours, unless it has its own.
  green_gateway = !var.private_link && var.green_existing.cluster_id == null && var.green_existing.network == null
  blue_gateway  = !var.private_link && var.blue_existing.cluster_id == null && var.blue_existing.network == null
}

module "global" {
  source = "../../global"

  name              = var.name
  environment       = "prod"
  location          = local.green.location
  replica_locations = [local.blue.location]

  existing_resource_group_id    = var.existing.resource_group_id
  existing_registry_id          = var.existing.registry_id
  existing_hub_namespace_id     = var.existing.hub_namespace_id
  existing_frontdoor_profile_id = var.existing.frontdoor_profile_id
  existing_log_workspace_id     = var.existing.log_workspace_id

  hub = {
    sku       = "Standard"
    units     = 4
    max_units = 20
    ip_rules  = var.site_addresses
  }

  hub_subnets = {
    cloud-green = module.green.hub_subnet
    cloud-blue  = module.blue.hub_subnet
  }

  # cloud-green is the primary; cloud-blue is warm, and takes all within the probes'
  # time. Neither keeps the order of a key: its messages go to any gateway of a stamp. The site is an origin only where it lets the front door in,
  # and then the last.
  origins = merge({
    cloud-green = {
      host_name    = var.green_host
      priority     = 1
      weight       = 500
      enabled      = !var.private_link || var.green_frontend_id != null
      private_link = module.green.private_link
    }
    cloud-blue = {
      host_name    = var.blue_host
      priority     = 2
      weight       = 500
      enabled      = !var.private_link || var.blue_frontend_id != null
      private_link = module.blue.private_link
    }
    }, var.site_host == null ? {} : {
    onprem = {
      host_name    = var.site_host
      priority     = 3
      weight       = 500
      enabled      = true
      private_link = null
    }
  })

  domain               = var.domain
  site_registry_tokens = ["onprem"]
  workflows            = var.workflow_repository == null ? null : { repository = var.workflow_repository, stamps = [local.green.name, local.blue.name] }

  waf          = { unlimited = var.site_addresses }
  alert_emails = var.alert_emails

  alert_when_nothing_comes = var.alert_when_nothing_comes
}

module "green" {
  source = "../../modules/stamp"

  name                = local.green.name
  prefix              = var.name
  environment         = "prod"
  location            = local.green.location
  tenant_id           = var.tenant_id
  address_space       = local.green.address_space
  application_gateway = local.green_gateway
  frontdoor_id        = module.global.frontdoor_id
  peers               = { cloud-blue = { vnet_id = module.blue.vnet_id } }

  existing_resource_group_id = var.green_existing.resource_group_id
  existing_cluster_id        = var.green_existing.cluster_id
  existing_network           = var.green_existing.network

  vault_ip_rules = var.vault_ip_rules

  cluster = {
    admin_group_ids   = var.admin_group_ids
    api_server_ranges = var.api_server_ranges
    upgrade_day       = "Thursday"
  }

  registry      = module.global.registry
  hub           = module.global.hub
  log_workspace = module.global.log_workspace
  action_group  = module.global.action_group
  origin        = !var.private_link || var.green_frontend_id == null ? null : { frontend_id = var.green_frontend_id }
  flux          = { url = var.repository, secret = var.git_secret }
  gate          = try({ principal_id = module.global.workflows["cloud-green"].principal_id }, null)
}

module "blue" {
  source = "../../modules/stamp"

  name                = local.blue.name
  prefix              = var.name
  environment         = "prod"
  location            = local.blue.location
  tenant_id           = var.tenant_id
  address_space       = local.blue.address_space
  application_gateway = local.blue_gateway
  frontdoor_id        = module.global.frontdoor_id
  peers               = { cloud-green = { vnet_id = module.green.vnet_id } }

  existing_resource_group_id = var.blue_existing.resource_group_id
  existing_cluster_id        = var.blue_existing.cluster_id
  existing_network           = var.blue_existing.network

  vault_ip_rules = var.vault_ip_rules

  # Blue first, as with releases: what breaks here has not yet happened to green.
  cluster = {
    admin_group_ids   = var.admin_group_ids
    api_server_ranges = var.api_server_ranges
    upgrade_day       = "Tuesday"
  }

  registry      = module.global.registry
  hub           = module.global.hub
  log_workspace = module.global.log_workspace
  action_group  = module.global.action_group
  origin        = !var.private_link || var.blue_frontend_id == null ? null : { frontend_id = var.blue_frontend_id }
  flux          = { url = var.repository, secret = var.git_secret }
  gate          = try({ principal_id = module.global.workflows["cloud-blue"].principal_id }, null)
}

module "site" {
  source = "../../modules/site"
  count  = var.site_cluster_id == null ? 0 : 1

  name                = "onprem"
  location            = local.green.location
  resource_group_name = split("/", var.site_cluster_id)[4]
  existing_cluster_id = var.site_cluster_id
  flux                = { url = var.repository, secret = var.git_secret }
}
