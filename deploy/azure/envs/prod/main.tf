# Two stamps in two regions, each complete and neither in need of the other, behind
# one address; and the site, where it is connected to Azure Arc.

locals {
  green = { name = "cloud-green", location = "eastus2", address_space = "10.40.0.0/16" }
  blue  = { name = "cloud-blue", location = "centralus", address_space = "10.41.0.0/16" }
}

module "global" {
  source = "../../global"

  name              = var.name
  environment       = "prod"
  location          = local.green.location
  replica_locations = [local.blue.location]

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

  # cloud-green is the primary: with one stamp at a time the messages of a key keep
  # one gateway, and with it their order. cloud-blue is warm, and takes all within
  # the probes' time.
  origins = {
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
  }

  alert_emails = var.alert_emails
}

module "green" {
  source = "../../modules/stamp"

  name                = local.green.name
  prefix              = var.name
  environment         = "prod"
  location            = local.green.location
  tenant_id           = var.tenant_id
  address_space       = local.green.address_space
  application_gateway = !var.private_link
  peers               = { cloud-blue = { vnet_id = module.blue.vnet_id } }

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
  flux          = { url = var.repository }
}

module "blue" {
  source = "../../modules/stamp"

  name                = local.blue.name
  prefix              = var.name
  environment         = "prod"
  location            = local.blue.location
  tenant_id           = var.tenant_id
  address_space       = local.blue.address_space
  application_gateway = !var.private_link
  peers               = { cloud-green = { vnet_id = module.green.vnet_id } }

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
  flux          = { url = var.repository }
}

module "site" {
  source = "../../modules/site"
  count  = var.site_cluster_id == null ? 0 : 1

  name                = "onprem"
  location            = local.green.location
  resource_group_name = split("/", var.site_cluster_id)[4]
  existing_cluster_id = var.site_cluster_id
  flux                = { url = var.repository }
}
