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
    protocol       = azurerm_storage_share.queue.enabled_protocol
    replication    = azurerm_storage_account.queue.account_replication_type
  }
}

output "private_link" {
  description = "What the front door's origin takes as private_link; null without one."
  value = var.origin == null ? null : {
    service_id = var.origin.service_id != null ? var.origin.service_id : azurerm_private_link_service.origin[0].id
    location   = var.location
  }
}

output "cluster" {
  description = "What the cluster that was made is like; null for one that was there already."
  value = one([for c in azurerm_kubernetes_cluster.this : {
    location    = c.location
    zones       = c.default_node_pool[0].zones
    nodes       = [c.default_node_pool[0].min_count, c.default_node_pool[0].max_count]
    upgrade_day = c.maintenance_window_auto_upgrade[0].day_of_week
  }])
}

output "address_space" {
  description = "The VNet's addresses; empty for one that was there already."
  value       = flatten([for n in azurerm_virtual_network.this : n.address_space])
}

output "application_gateway" {
  description = "Whether the stamp has an Application Gateway."
  value       = length(azurerm_subnet.application_gateway) > 0
}
