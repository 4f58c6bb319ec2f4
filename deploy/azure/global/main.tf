locals {
  resource_group_name = var.existing_resource_group_id != null ? split("/", var.existing_resource_group_id)[4] : azurerm_resource_group.this[0].name
  registry_id         = var.existing_registry_id != null ? var.existing_registry_id : azurerm_container_registry.this[0].id
  log_workspace_id    = var.existing_log_workspace_id != null ? var.existing_log_workspace_id : azurerm_log_analytics_workspace.this[0].id
  tags                = merge(var.tags, { system = "postroad", environment = var.environment })
}

resource "azurerm_resource_group" "this" {
  count = var.existing_resource_group_id == null ? 1 : 0

  name     = "${var.name}-global"
  location = var.location
  tags     = local.tags
}

resource "azurerm_log_analytics_workspace" "this" {
  count = var.existing_log_workspace_id == null ? 1 : 0

  name                = "${var.name}-logs"
  resource_group_name = local.resource_group_name
  location            = var.location
  sku                 = "PerGB2018"
  retention_in_days   = var.log_retention_days
  tags                = local.tags
}

# Where each resource's own logs and metrics go.
resource "azurerm_monitor_diagnostic_setting" "this" {
  for_each = merge(
    var.existing_registry_id == null ? { registry = azurerm_container_registry.this[0].id } : {},
    var.existing_hub_namespace_id == null ? { hub = azurerm_eventhub_namespace.this[0].id } : {},
    var.existing_frontdoor_profile_id == null ? { frontdoor = azurerm_cdn_frontdoor_profile.this[0].id } : {},
  )

  name                       = "postroad"
  target_resource_id         = each.value
  log_analytics_workspace_id = local.log_workspace_id

  enabled_log {
    category_group = "allLogs"
  }

  enabled_metric {
    category = "AllMetrics"
  }
}
