locals {
  resource_group_id   = var.existing_resource_group_id != null ? var.existing_resource_group_id : azurerm_resource_group.this[0].id
  resource_group_name = var.existing_resource_group_id != null ? split("/", var.existing_resource_group_id)[4] : azurerm_resource_group.this[0].name
  vnet_id             = var.existing_network != null ? var.existing_network.vnet_id : azurerm_virtual_network.this[0].id
  vnet_name           = var.existing_network != null ? split("/", var.existing_network.vnet_id)[8] : azurerm_virtual_network.this[0].name
  vnet_group          = var.existing_network != null ? split("/", var.existing_network.vnet_id)[4] : local.resource_group_name
  nodes_subnet_id     = var.existing_network != null ? var.existing_network.nodes_subnet_id : azurerm_subnet.nodes[0].id
  endpoint_subnet_id  = var.existing_network != null ? var.existing_network.endpoint_subnet_id : azurerm_subnet.endpoints[0].id
  makes_network       = var.existing_network == null
  tags                = merge(var.tags, { system = "postroad", environment = var.environment, stamp = var.name })
}

resource "azurerm_resource_group" "this" {
  count = var.existing_resource_group_id == null ? 1 : 0

  name     = "${var.prefix}-${var.name}"
  location = var.location
  tags     = local.tags
}

resource "azurerm_virtual_network" "this" {
  count = local.makes_network ? 1 : 0

  name                = "${var.name}-vnet"
  resource_group_name = local.resource_group_name
  location            = var.location
  address_space       = [var.address_space]
  tags                = local.tags
}

# Nodes alone: pods have addresses of an overlay.
resource "azurerm_subnet" "nodes" {
  count = local.makes_network ? 1 : 0

  name                 = "nodes"
  resource_group_name  = local.resource_group_name
  virtual_network_name = azurerm_virtual_network.this[0].name
  address_prefixes     = [cidrsubnet(var.address_space, 4, 0)]

  service_endpoint {
    service = "Microsoft.EventHub"
  }

  service_endpoint {
    service = "Microsoft.KeyVault"
  }
}

# Private endpoints, and the NAT addresses of the Private Link service.
resource "azurerm_subnet" "endpoints" {
  count = local.makes_network ? 1 : 0

  name                                          = "endpoints"
  resource_group_name                           = local.resource_group_name
  virtual_network_name                          = azurerm_virtual_network.this[0].name
  address_prefixes                              = [cidrsubnet(var.address_space, 8, 16)]
  default_outbound_access_enabled               = false
  private_link_service_network_policies_enabled = false
}

resource "azurerm_subnet" "application_gateway" {
  count = local.makes_network && var.application_gateway ? 1 : 0

  name                 = "application-gateway"
  resource_group_name  = local.resource_group_name
  virtual_network_name = azurerm_virtual_network.this[0].name
  address_prefixes     = [cidrsubnet(var.address_space, 8, 17)]
}

resource "azurerm_virtual_network_peering" "this" {
  for_each = var.peers

  name                         = "to-${each.key}"
  resource_group_name          = local.vnet_group
  virtual_network_name         = local.vnet_name
  remote_virtual_network_id    = each.value.vnet_id
  allow_virtual_network_access = true
  # A peer brings its own traffic and that of nobody else.
  allow_forwarded_traffic = false
  allow_gateway_transit   = false
}
