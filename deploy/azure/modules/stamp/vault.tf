# Secrets of the stamp: the relay's token, keys of issuers. Their values are put
# there by people or workflows, never by this code, so that no state holds them.
resource "azurerm_key_vault" "this" {
  name                       = "${var.prefix}-${var.name}"
  resource_group_name        = local.resource_group_name
  location                   = var.location
  tenant_id                  = var.tenant_id
  sku_name                   = "standard"
  rbac_authorization_enabled = true
  purge_protection_enabled   = var.environment == "prod"
  soft_delete_retention_days = 90
  tags                       = local.tags

  network_acls {
    default_action             = "Deny"
    bypass                     = "None"
    ip_rules                   = var.vault_ip_rules
    virtual_network_subnet_ids = [local.nodes_subnet_id]
  }

  lifecycle {
    precondition {
      condition     = length("${var.prefix}-${var.name}") <= 24
      error_message = "prefix and name together: at most 23 characters, or the vault's name is too long."
    }
  }
}

resource "azurerm_monitor_diagnostic_setting" "vault" {
  count = var.log_workspace == null ? 0 : 1

  name                       = "postroad"
  target_resource_id         = azurerm_key_vault.this.id
  log_analytics_workspace_id = var.log_workspace.id

  enabled_log {
    category_group = "audit"
  }

  enabled_metric {
    category = "AllMetrics"
  }
}
