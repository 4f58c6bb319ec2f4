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
    locked         = length(azurerm_management_lock.queue) > 0
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
    admins      = c.azure_active_directory_role_based_access_control[0].admin_group_object_ids
    reached_by  = flatten([for a in c.api_server_access_profile : a.authorized_ip_ranges])
  }])
}

output "flux_path" {
  description = "The folder of the repository that Flux applies; null where it is not set up here."
  value       = one([for f in azurerm_kubernetes_flux_configuration.this : one(f.kustomizations).path])
}

output "joined" {
  description = "What the stamp was told of: whether it pulls from a registry and logs, what it may do at the hub, its alerts, who watches deployments."
  value = {
    pulls     = length(azurerm_role_assignment.pull) > 0
    logs      = length(azurerm_monitor_diagnostic_setting.vault) > 0
    hub_roles = keys(azurerm_role_assignment.hub)
    alerts    = length(azurerm_monitor_metric_alert.this)
    watched   = length(azurerm_role_assignment.gate) > 0
    vault_ips = azurerm_key_vault.this.network_acls[0].ip_rules
  }
}

output "peers" {
  description = "The VNets that the stamp's own is peered with, by name."
  value       = keys(azurerm_virtual_network_peering.this)
}

output "address_space" {
  description = "The VNet's addresses; empty for one that was there already."
  value       = flatten([for n in azurerm_virtual_network.this : n.address_space])
}

output "application_gateway" {
  description = "The Application Gateway: the address that the stamp's host name has to lead to, and whose front door it lets in; null without one."
  value = !var.application_gateway ? null : {
    address = azurerm_public_ip.application_gateway[0].ip_address
    lets_in = flatten([for r in azurerm_web_application_firewall_policy.application_gateway[0].custom_rules : r.match_conditions[0].match_values if r.action == "Allow"])
  }
}
