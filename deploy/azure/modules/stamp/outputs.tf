output "vnet_id" {
  description = "The stamp's VNet, for peers."
  value       = local.vnet_id
}

output "hub_subnet" {
  description = "The subnet that reaches the hub, as global takes it in hub_subnets."
  value       = { id = local.nodes_subnet_id }
}

output "cluster_id" {
  description = "The cluster."
  value       = local.cluster_id
}

output "identities" {
  description = "What the chart's service accounts name as azure.workload.identity/client-id, by workload."
  value       = { for name, i in azurerm_user_assigned_identity.workload : name => i.client_id }
}

output "vault_name" {
  description = "The vault that the CSI driver reads."
  value       = azurerm_key_vault.this.name
}

output "share" {
  description = "What the chart's persistent volume names."
  value = {
    account        = azurerm_storage_account.queue.name
    resource_group = local.resource_group_name
    share          = azurerm_storage_share.queue.name
    protocol       = var.share.protocol
  }
}

output "private_link" {
  description = "What the front door's origin takes as private_link; null without one."
  value = var.origin == null ? null : {
    service_id = var.origin.service_id != null ? var.origin.service_id : azurerm_private_link_service.origin[0].id
    location   = var.location
  }
}
