# Each workload has an identity of its own, which Entra ID gives to its service
# account and to no other: no pod holds a password of Azure.
resource "azurerm_user_assigned_identity" "workload" {
  for_each = var.workloads

  name                = "${var.name}-${each.key}"
  resource_group_name = local.resource_group_name
  location            = var.location
  tags                = local.tags
}

resource "azurerm_federated_identity_credential" "workload" {
  for_each = var.workloads

  name                      = "kubernetes"
  user_assigned_identity_id = azurerm_user_assigned_identity.workload[each.key].id
  audience                  = ["api://AzureADTokenExchange"]
  issuer                    = local.issuer
  subject                   = "system:serviceaccount:${var.namespace}:${each.value.service_account}"
}

locals {
  topic_ids = try(var.hub.topic_ids, {})

  # What each workload may do with each event hub, and no more.
  hub_roles = merge(flatten([
    for w, workload in var.workloads : [
      { for t, id in local.topic_ids : "${w}/${t}/send" => { workload = w, topic = t, role = "Azure Event Hubs Data Sender" } if workload.send },
      { for t, id in local.topic_ids : "${w}/${t}/receive" => { workload = w, topic = t, role = "Azure Event Hubs Data Receiver" } if workload.receive },
    ]
  ])...)
}

resource "azurerm_role_assignment" "hub" {
  for_each = local.hub_roles

  scope                = local.topic_ids[each.value.topic]
  role_definition_name = each.value.role
  principal_id         = azurerm_user_assigned_identity.workload[each.value.workload].principal_id
  principal_type       = "ServicePrincipal"
}

resource "azurerm_role_assignment" "vault" {
  for_each = var.workloads

  scope                = azurerm_key_vault.this.id
  role_definition_name = "Key Vault Secrets User"
  principal_id         = azurerm_user_assigned_identity.workload[each.key].principal_id
  principal_type       = "ServicePrincipal"
}
