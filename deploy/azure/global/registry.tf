data "azurerm_container_registry" "existing" {
  count = var.existing_registry_id == null ? 0 : 1

  name                = split("/", var.existing_registry_id)[8]
  resource_group_name = split("/", var.existing_registry_id)[4]
}

# One registry behind one name, readable while a zone or a region is away.
resource "azurerm_container_registry" "this" {
  count = var.existing_registry_id == null ? 1 : 0

  name                = "${var.name}${var.environment}registry"
  resource_group_name = local.resource_group_name
  location            = var.location
  sku                 = "Premium"
  tags                = local.tags

  # Nobody has a password: clusters pull by their identity, workflows push by a
  # federated one, a site by a token of its own for one repository.
  admin_enabled          = false
  anonymous_pull_enabled = false

  zone_redundancy_enabled = true
  # Layers come from hosts of this registry alone, which a firewall can name.
  data_endpoint_enabled = true

  dynamic "georeplications" {
    for_each = sort([for l in var.replica_locations : l])

    content {
      location                        = georeplications.value
      zone_redundancy_enabled         = true
      global_endpoint_routing_enabled = true
      tags                            = local.tags
    }
  }
}

# What a site pulls with: one repository, and nothing else.
resource "azurerm_container_registry_scope_map" "pull" {
  count = length(var.site_registry_tokens) > 0 ? 1 : 0

  name                    = "postroad-pull"
  container_registry_name = split("/", local.registry_id)[8]
  resource_group_name     = split("/", local.registry_id)[4]
  actions                 = ["repositories/postroad/content/read", "repositories/postroad/metadata/read"]
}

resource "azurerm_container_registry_token" "site" {
  for_each = var.site_registry_tokens

  name                    = each.key
  container_registry_name = split("/", local.registry_id)[8]
  resource_group_name     = split("/", local.registry_id)[4]
  scope_map_id            = azurerm_container_registry_scope_map.pull[0].id
  enabled                 = true
}
