# One assertion for each property, with the changes ("# flip FILE | WAS | IS | N", N
# the occurrence) that have to make it fail; test/azure makes them.

mock_provider "azurerm" {
  mock_data "azurerm_kubernetes_cluster" {
    defaults = {
      oidc_issuer_url = "https://issuer.example.com/"
      kubelet_identity = [{
        client_id                 = "00000000-0000-0000-0000-000000000003"
        object_id                 = "00000000-0000-0000-0000-000000000002"
        user_assigned_identity_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/theirs/providers/Microsoft.ManagedIdentity/userAssignedIdentities/kubelet"
      }]
    }
  }
}

variables {
  name          = "cloud-green"
  prefix        = "plant"
  environment   = "prod"
  location      = "eastus2"
  tenant_id     = "00000000-0000-0000-0000-000000000000"
  peers         = { cloud-blue = { vnet_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/b/providers/Microsoft.Network/virtualNetworks/blue" } }
  registry      = { id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/g/providers/Microsoft.ContainerRegistry/registries/r" }
  hub           = { topic_ids = { messages = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/g/providers/Microsoft.EventHub/namespaces/n/eventhubs/messages" } }
  log_workspace = { id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/g/providers/Microsoft.OperationalInsights/workspaces/w" }
  action_group  = { id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/g/providers/Microsoft.Insights/actionGroups/a" }
  origin        = { frontend_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/n/providers/Microsoft.Network/loadBalancers/kubernetes-internal/frontendIPConfigurations/f" }
  flux          = { url = "https://git.example.com/postroad" }
}

run "network" {
  command = plan

  assert {
    # flip network.tf | address_space = [var.address_space] | address_space = ["10.99.0.0/16"]
    condition     = one(azurerm_virtual_network.this[0].address_space) == "10.40.0.0/16"
    error_message = "the VNet has the addresses that are asked for"
  }

  assert {
    # flip network.tf | cidrsubnet(var.address_space, 4, 0) | cidrsubnet(var.address_space, 4, 1)
    # flip network.tf | cidrsubnet(var.address_space, 8, 16) | cidrsubnet(var.address_space, 8, 1)
    condition     = one(azurerm_subnet.nodes[0].address_prefixes) == "10.40.0.0/20" && one(azurerm_subnet.endpoints[0].address_prefixes) == "10.40.16.0/24"
    error_message = "subnets do not overlap"
  }

  assert {
    # flip network.tf | service = "Microsoft.EventHub" | service = "Microsoft.Sql"
    # flip network.tf | service = "Microsoft.KeyVault" | service = "Microsoft.Sql"
    condition     = sort([for e in azurerm_subnet.nodes[0].service_endpoint : e.service]) == tolist(["Microsoft.EventHub", "Microsoft.KeyVault"])
    error_message = "nodes reach hub and vault inside Azure"
  }

  assert {
    # flip network.tf | private_link_service_network_policies_enabled = false | private_link_service_network_policies_enabled = true
    condition     = azurerm_subnet.endpoints[0].private_link_service_network_policies_enabled == false
    error_message = "the Private Link service has a place for its addresses"
  }

  assert {
    # flip network.tf | for_each = var.peers | for_each = {}
    condition     = [for p in azurerm_virtual_network_peering.this : endswith(p.remote_virtual_network_id, "/blue")] == [true]
    error_message = "the VNet is peered"
  }

  assert {
    # flip network.tf | allow_virtual_network_access = true | allow_virtual_network_access = false
    # flip network.tf | allow_forwarded_traffic = false | allow_forwarded_traffic = true
    condition     = azurerm_virtual_network_peering.this["cloud-blue"].allow_virtual_network_access && !azurerm_virtual_network_peering.this["cloud-blue"].allow_forwarded_traffic
    error_message = "peers reach each other, and nobody through them"
  }
}

run "cluster" {
  command = plan

  assert {
    # flip variables.tf | ["1", "2", "3"] | ["1", "2", "4"]
    # flip cluster.tf | zones = var.cluster.zones | zones = ["1"]
    condition     = sort(azurerm_kubernetes_cluster.this[0].default_node_pool[0].zones) == tolist(["1", "2", "3"])
    error_message = "nodes stand in zones 1 to 3"
  }

  assert {
    # flip cluster.tf | auto_scaling_enabled = true | auto_scaling_enabled = false
    condition     = azurerm_kubernetes_cluster.this[0].default_node_pool[0].auto_scaling_enabled
    error_message = "nodes are added by themselves"
  }

  assert {
    # flip variables.tf | min_nodes = optional(number, 3) | min_nodes = optional(number, 4)
    # flip cluster.tf | min_count = var.cluster.min_nodes | min_count = 1
    condition     = azurerm_kubernetes_cluster.this[0].default_node_pool[0].min_count == 3
    error_message = "three nodes at least"
  }

  assert {
    # flip variables.tf | max_nodes = optional(number, 5) | max_nodes = optional(number, 50)
    # flip cluster.tf | max_count = var.cluster.max_nodes | max_count = 3
    condition     = azurerm_kubernetes_cluster.this[0].default_node_pool[0].max_count == 5
    error_message = "five nodes at most"
  }

  assert {
    # flip cluster.tf | max_surge = "1" | max_surge = "100%"
    # flip cluster.tf | drain_timeout_in_minutes = 30 | drain_timeout_in_minutes = 1
    condition     = azurerm_kubernetes_cluster.this[0].default_node_pool[0].upgrade_settings[0].max_surge == "1" && azurerm_kubernetes_cluster.this[0].default_node_pool[0].upgrade_settings[0].drain_timeout_in_minutes == 30
    error_message = "nodes are renewed one at a time, with time to drain"
  }

  assert {
    # flip cluster.tf | mode = "Manual" | mode = "Auto"
    condition     = azurerm_kubernetes_cluster.this[0].node_provisioning_profile[0].mode == "Manual"
    error_message = "the autoscaler alone makes nodes"
  }

  assert {
    # flip cluster.tf | sku_tier = "Standard" | sku_tier = "Free"
    condition     = azurerm_kubernetes_cluster.this[0].sku_tier == "Standard"
    error_message = "the control plane has an assured availability"
  }

  assert {
    # flip cluster.tf | oidc_issuer_enabled = true | oidc_issuer_enabled = false
    # flip cluster.tf | workload_identity_enabled = true | workload_identity_enabled = false
    condition     = azurerm_kubernetes_cluster.this[0].oidc_issuer_enabled && azurerm_kubernetes_cluster.this[0].workload_identity_enabled
    error_message = "workloads have identities"
  }

  assert {
    # flip cluster.tf | local_account_disabled = true | local_account_disabled = false
    # flip cluster.tf | azure_rbac_enabled = true | azure_rbac_enabled = false
    condition     = azurerm_kubernetes_cluster.this[0].local_account_disabled && azurerm_kubernetes_cluster.this[0].azure_active_directory_role_based_access_control[0].azure_rbac_enabled
    error_message = "only Entra ID lets people in"
  }

  assert {
    # flip cluster.tf | network_policy = "cilium" | network_policy = "azure"
    # flip cluster.tf | network_data_plane = "cilium" | network_data_plane = "azure"
    condition     = azurerm_kubernetes_cluster.this[0].network_profile[0].network_policy == "cilium" && azurerm_kubernetes_cluster.this[0].network_profile[0].network_data_plane == "cilium"
    error_message = "network policies are enforced"
  }

  assert {
    # flip cluster.tf | network_plugin_mode = "overlay" | network_plugin_mode = null
    condition     = azurerm_kubernetes_cluster.this[0].network_profile[0].network_plugin_mode == "overlay"
    error_message = "pods take no address of the VNet"
  }

  assert {
    # flip cluster.tf | secret_rotation_enabled = true | secret_rotation_enabled = false
    condition     = azurerm_kubernetes_cluster.this[0].key_vault_secrets_provider[0].secret_rotation_enabled
    error_message = "secrets of the vault are mounted, and renewed"
  }

  assert {
    # flip cluster.tf | file_driver_enabled = true | file_driver_enabled = false
    condition     = azurerm_kubernetes_cluster.this[0].storage_profile[0].file_driver_enabled
    error_message = "shares can be mounted"
  }

  assert {
    # flip variables.tf | keda = optional(bool, true) | keda = optional(bool, false)
    condition     = azurerm_kubernetes_cluster.this[0].workload_autoscaler_profile[0].keda_enabled
    error_message = "forwarders that run apart can be scaled by backlog"
  }

  assert {
    # flip cluster.tf | automatic_upgrade_channel = "patch" | automatic_upgrade_channel = "rapid"
    # flip cluster.tf | node_os_upgrade_channel = "NodeImage" | node_os_upgrade_channel = "None"
    condition     = azurerm_kubernetes_cluster.this[0].automatic_upgrade_channel == "patch" && azurerm_kubernetes_cluster.this[0].node_os_upgrade_channel == "NodeImage"
    error_message = "patches come by themselves"
  }

  assert {
    # flip cluster.tf | day_of_week = var.cluster.upgrade_day | day_of_week = "Friday" | 1
    # flip cluster.tf | day_of_week = var.cluster.upgrade_day | day_of_week = "Friday" | 2
    condition     = azurerm_kubernetes_cluster.this[0].maintenance_window_auto_upgrade[0].day_of_week == "Tuesday" && azurerm_kubernetes_cluster.this[0].maintenance_window_node_os[0].day_of_week == "Tuesday"
    error_message = "upgrades keep to the stamp's day"
  }

  assert {
    # flip cluster.tf | role_definition_name = "AcrPull" | role_definition_name = "Contributor"
    # flip cluster.tf | scope = var.registry.id | scope = local.cluster_id
    condition     = azurerm_role_assignment.pull[0].role_definition_name == "AcrPull" && endswith(azurerm_role_assignment.pull[0].scope, "/registries/r")
    error_message = "nodes pull from the registry, and no more"
  }

  assert {
    # flip cluster.tf | role_definition_name = "Network Contributor" | role_definition_name = "Owner" | 1
    condition     = alltrue([for r in azurerm_role_assignment.cluster_subnets : r.role_definition_name == "Network Contributor"])
    error_message = "the cluster uses its subnets, and no more"
  }

  assert {
    # flip cluster.tf | category = "kube-audit-admin" | category = "kube-scheduler"
    condition     = contains([for l in azurerm_monitor_diagnostic_setting.cluster[0].enabled_log : l.category], "kube-audit-admin")
    error_message = "who changed the cluster is logged"
  }
}

run "identity_of_the_chart" {
  command = plan

  assert {
    # flip variables.tf | service_account = "postroad" | service_account = "default"
    # flip variables.tf | default = "postroad" | default = "default"
    condition     = { for k, c in azurerm_federated_identity_credential.workload : k => c.subject } == { stamp = "system:serviceaccount:postroad:postroad" }
    error_message = "the chart's service account has an identity"
  }
}

run "identities" {
  command = plan

  variables {
    workloads = {
      stamp  = { service_account = "postroad-stamp", send = true, receive = true }
      stream = { service_account = "postroad-stream", send = false, receive = true }
    }
  }

  assert {
    # flip identity.tf | subject = "system:serviceaccount:${var.namespace}:${each.value.service_account}" | subject = "system:serviceaccount:default:default"
    condition     = azurerm_federated_identity_credential.workload["stream"].subject == "system:serviceaccount:postroad:postroad-stream"
    error_message = "an identity is of one service account"
  }

  assert {
    # flip identity.tf | api://AzureADTokenExchange | api://other
    condition     = one(azurerm_federated_identity_credential.workload["stamp"].audience) == "api://AzureADTokenExchange"
    error_message = "tokens are for Entra ID"
  }

  assert {
    # flip identity.tf | if workload.send } | }
    # flip identity.tf | if workload.receive } | if workload.send }
    condition     = { for k, r in azurerm_role_assignment.hub : k => r.role_definition_name } == { "stamp/messages/send" = "Azure Event Hubs Data Sender", "stamp/messages/receive" = "Azure Event Hubs Data Receiver", "stream/messages/receive" = "Azure Event Hubs Data Receiver" }
    error_message = "forwarders send and read, stream nodes read"
  }

  assert {
    # flip identity.tf | scope = local.topic_ids[each.value.topic] | scope = dirname(dirname(local.topic_ids[each.value.topic]))
    condition     = alltrue([for r in azurerm_role_assignment.hub : endswith(r.scope, "/eventhubs/messages")])
    error_message = "roles are for one event hub"
  }

  assert {
    # flip identity.tf | role_definition_name = "Key Vault Secrets User" | role_definition_name = "Key Vault Administrator"
    condition     = alltrue([for r in azurerm_role_assignment.vault : r.role_definition_name == "Key Vault Secrets User"])
    error_message = "workloads read secrets, and change none"
  }
}

run "share" {
  command = plan

  assert {
    # flip share.tf | account_kind = "FileStorage" | account_kind = "StorageV2"
    # flip share.tf | account_tier = "Premium" | account_tier = "Standard"
    condition     = azurerm_storage_account.queue.account_kind == "FileStorage" && azurerm_storage_account.queue.account_tier == "Premium"
    error_message = "the share is on SSDs"
  }

  assert {
    # flip share.tf | account_replication_type = var.share.replication | account_replication_type = "LRS"
    condition     = azurerm_storage_account.queue.account_replication_type == "ZRS"
    error_message = "the share is in three zones"
  }

  assert {
    # flip share.tf | enabled_protocol = var.share.protocol | enabled_protocol = "SMB"
    # flip variables.tf | protocol = optional(string, "NFS") | protocol = optional(string, "SMB")
    condition     = azurerm_storage_share.queue.enabled_protocol == "NFS"
    error_message = "the share is NFS unless asked otherwise"
  }

  assert {
    # flip share.tf | shared_access_key_enabled = var.share.protocol == "SMB" | shared_access_key_enabled = true
    condition     = azurerm_storage_account.queue.shared_access_key_enabled == false
    error_message = "an NFS share needs no key"
  }

  assert {
    # flip share.tf | https_traffic_only_enabled = var.share.protocol == "SMB" | https_traffic_only_enabled = true
    condition     = azurerm_storage_account.queue.https_traffic_only_enabled == false
    error_message = "an NFS share can be mounted"
  }

  assert {
    # flip share.tf | public_network_access_enabled = false | public_network_access_enabled = true
    # flip share.tf | default_action = "Deny" | default_action = "Allow"
    condition     = !azurerm_storage_account.queue.public_network_access_enabled && azurerm_storage_account.queue.network_rules[0].default_action == "Deny"
    error_message = "the share is not on the internet"
  }

  assert {
    # flip share.tf | subresource_names = ["file"] | subresource_names = ["blob"]
    condition     = azurerm_private_endpoint.file.private_service_connection[0].subresource_names[0] == "file"
    error_message = "the share is reached by a private endpoint"
  }

  assert {
    # flip share.tf | name = "privatelink.file.core.windows.net" | name = "privatelink.blob.core.windows.net"
    condition     = azurerm_private_dns_zone.file.name == "privatelink.file.core.windows.net"
    error_message = "the share's name leads to its private endpoint"
  }

  assert {
    # flip share.tf | days = 14 | days = 1
    condition     = azurerm_storage_account.queue.share_properties[0].retention_policy[0].days == 14
    error_message = "a deleted share can be brought back"
  }

  assert {
    # flip share.tf | quota = var.share.gib | quota = 100
    condition     = azurerm_storage_share.queue.quota == 256
    error_message = "the share has the size that is asked for"
  }

  assert {
    # flip share.tf | count = var.environment == "prod" ? 1 : 0 | count = 0
    # flip share.tf | lock_level = "CanNotDelete" | lock_level = "ReadOnly"
    condition     = [for l in azurerm_management_lock.queue : l.lock_level] == ["CanNotDelete"]
    error_message = "the share is locked against deletion"
  }
}

run "share_smb" {
  command = plan

  variables {
    share = { protocol = "SMB" }
  }

  assert {
    # flip share.tf | versions = ["SMB3.1.1"] | versions = ["SMB2.1", "SMB3.1.1"]
    condition     = tolist(azurerm_storage_account.queue.share_properties[0].smb[0].versions) == tolist(["SMB3.1.1"])
    error_message = "SMB is 3.1.1"
  }

  assert {
    # flip share.tf | ["AES-128-GCM", "AES-256-GCM"] | ["AES-128-CCM", "AES-128-GCM", "AES-256-GCM"]
    condition     = sort(azurerm_storage_account.queue.share_properties[0].smb[0].channel_encryption_type) == tolist(["AES-128-GCM", "AES-256-GCM"])
    error_message = "SMB is encrypted"
  }

  assert {
    # flip share.tf | https_traffic_only_enabled = var.share.protocol == "SMB" | https_traffic_only_enabled = false
    condition     = azurerm_storage_account.queue.https_traffic_only_enabled
    error_message = "SMB has nothing unencrypted beside it"
  }
}

# flip share.tf | var.environment != "prod" || var.share.replication == "ZRS" | var.environment != ""
run "share_lrs_is_refused_in_prod" {
  command = plan

  variables {
    share = { replication = "LRS" }
  }

  expect_failures = [azurerm_storage_account.queue]
}

run "share_lrs_in_dev" {
  command = plan

  variables {
    environment = "dev"
    share       = { replication = "LRS" }
  }

  assert {
    # flip share.tf | condition = var.environment != "prod" || var.share.replication == "ZRS" | condition = var.share.replication == "ZRS"
    condition     = azurerm_storage_account.queue.account_replication_type == "LRS"
    error_message = "LRS is taken in dev"
  }

  assert {
    # flip share.tf | count = var.environment == "prod" ? 1 : 0 | count = 1
    condition     = length(azurerm_management_lock.queue) == 0
    error_message = "dev can be torn down"
  }
}

# flip cluster.tf | var.environment != "prod" || length(distinct(var.cluster.zones)) == 3 | var.environment != ""
run "one_zone_is_refused_in_prod" {
  command = plan

  variables {
    cluster = { zones = ["1"] }
  }

  expect_failures = [azurerm_kubernetes_cluster.this]
}

# flip cluster.tf | var.environment != "prod" || var.cluster.min_nodes >= 3 | var.environment != ""
run "two_nodes_are_refused_in_prod" {
  command = plan

  variables {
    cluster = { min_nodes = 2 }
  }

  expect_failures = [azurerm_kubernetes_cluster.this]
}

# flip variables.tf | contains(["ZRS", "LRS"], var.share.replication) | var.share.replication != ""
run "other_replication_is_refused" {
  command = plan

  variables {
    environment = "dev"
    share       = { replication = "GRS" }
  }

  expect_failures = [var.share]
}

run "vault" {
  command = plan

  assert {
    # flip vault.tf | rbac_authorization_enabled = true | rbac_authorization_enabled = false
    condition     = azurerm_key_vault.this.rbac_authorization_enabled
    error_message = "the vault knows roles alone"
  }

  assert {
    # flip vault.tf | purge_protection_enabled = var.environment == "prod" | purge_protection_enabled = false
    # flip vault.tf | soft_delete_retention_days = 90 | soft_delete_retention_days = 7
    condition     = azurerm_key_vault.this.purge_protection_enabled && azurerm_key_vault.this.soft_delete_retention_days == 90
    error_message = "deleted secrets can be brought back"
  }

  assert {
    # flip vault.tf | default_action = "Deny" | default_action = "Allow"
    # flip vault.tf | ip_rules = var.vault_ip_rules | ip_rules = ["192.0.2.0/24"]
    condition     = azurerm_key_vault.this.network_acls[0].default_action == "Deny" && try(length(azurerm_key_vault.this.network_acls[0].ip_rules), 0) == 0
    error_message = "the vault is closed to the internet"
  }

  assert {
    # flip vault.tf | category_group = "audit" | category_group = "allLogs"
    condition     = one(azurerm_monitor_diagnostic_setting.vault[0].enabled_log).category_group == "audit"
    error_message = "who read a secret is logged"
  }
}

run "origin" {
  command = plan

  assert {
    # flip origin.tf | [var.origin.frontend_id] | []
    condition     = [for s in azurerm_private_link_service.origin : length(s.load_balancer_frontend_ip_configuration_ids)] == [1]
    error_message = "the stamp is an origin by Private Link"
  }

  assert {
    # flip origin.tf | proxy_protocol_enabled = false | proxy_protocol_enabled = true
    condition     = azurerm_private_link_service.origin[0].proxy_protocol_enabled == false
    error_message = "gateways are spoken to in HTTP from the first byte"
  }

  assert {
    # flip origin.tf | primary = false | primary = true
    condition     = length([for c in azurerm_private_link_service.origin[0].nat_ip_configuration : c if c.primary]) == 1
    error_message = "one NAT address is the primary"
  }
}

run "origin_that_is_there" {
  command = plan

  variables {
    origin = { service_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/n/providers/Microsoft.Network/privateLinkServices/theirs" }
  }

  assert {
    # flip outputs.tf | var.origin.service_id != null ? var.origin.service_id | var.origin.service_id != null ? "other"
    condition     = endswith(output.private_link.service_id, "/theirs") && length(azurerm_private_link_service.origin) == 0
    error_message = "the Private Link service that is there is used"
  }
}

run "application_gateway" {
  command = plan

  variables {
    application_gateway = true
    origin              = null
  }

  assert {
    # flip cluster.tf | gateway_name = "${var.name}-gateway" | gateway_name = "other"
    condition     = azurerm_kubernetes_cluster.this[0].ingress_application_gateway[0].gateway_name == "cloud-green-gateway"
    error_message = "an Application Gateway takes requests"
  }

  assert {
    # flip network.tf | destination_port_range = "443" | destination_port_range = "*"
    # flip network.tf | source_address_prefix = "AzureFrontDoor.Backend" | source_address_prefix = "Internet"
    condition     = [for r in azurerm_network_security_group.application_gateway[0].security_rule : r.destination_port_range if r.source_address_prefix == "AzureFrontDoor.Backend" && r.access == "Allow"] == ["443"]
    error_message = "the front door reaches the Application Gateway"
  }

  assert {
    # flip network.tf | access = "Deny" | access = "Allow"
    # flip network.tf | priority = 200 | priority = 90
    condition     = [for r in azurerm_network_security_group.application_gateway[0].security_rule : r.priority if r.source_address_prefix == "Internet" && r.access == "Deny"] == [200]
    error_message = "nobody else reaches the Application Gateway"
  }

  assert {
    # flip network.tf | count = local.makes_network && var.application_gateway ? 1 : 0 | count = 0 | 3
    condition     = length(azurerm_subnet_network_security_group_association.application_gateway) == 1
    error_message = "the rules count"
  }

  assert {
    # flip cluster.tf | role_definition_name = "Network Contributor" | role_definition_name = "Owner" | 2
    condition     = azurerm_role_assignment.application_gateway[0].role_definition_name == "Network Contributor"
    error_message = "the ingress controller uses its subnet, and no more"
  }
}

# flip cluster.tf | !var.application_gateway || local.makes_network | var.environment != ""
run "application_gateway_wants_its_own_subnet" {
  command = plan

  variables {
    application_gateway = true
    existing_network = {
      vnet_id            = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/their-net/providers/Microsoft.Network/virtualNetworks/theirs"
      nodes_subnet_id    = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/their-net/providers/Microsoft.Network/virtualNetworks/theirs/subnets/nodes"
      endpoint_subnet_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/their-net/providers/Microsoft.Network/virtualNetworks/theirs/subnets/endpoints"
    }
  }

  expect_failures = [azurerm_kubernetes_cluster.this]
}

run "flux" {
  command = plan

  assert {
    # flip flux.tf | name = "cluster" | name = "postroad"
    condition     = azurerm_kubernetes_flux_configuration.this[0].name == "cluster"
    error_message = "Flux has one source of a name"
  }

  assert {
    # flip flux.tf | extension_type = "microsoft.flux" | extension_type = "microsoft.dapr"
    condition     = azurerm_kubernetes_cluster_extension.flux[0].extension_type == "microsoft.flux"
    error_message = "Flux is there"
  }

  assert {
    # flip flux.tf | path = "./deploy/gitops/clusters/${var.name}" | path = "./deploy"
    condition     = one(azurerm_kubernetes_flux_configuration.this[0].kustomizations).path == "./deploy/gitops/clusters/cloud-green"
    error_message = "Flux applies the stamp's own folder"
  }

  assert {
    # flip flux.tf | garbage_collection_enabled = true | garbage_collection_enabled = false
    condition     = one(azurerm_kubernetes_flux_configuration.this[0].kustomizations).garbage_collection_enabled
    error_message = "Flux removes what is gone from the repository"
  }

  assert {
    # flip flux.tf | continuous_reconciliation_enabled = true | continuous_reconciliation_enabled = false
    condition     = azurerm_kubernetes_flux_configuration.this[0].continuous_reconciliation_enabled
    error_message = "Flux undoes what was changed by hand"
  }
}

run "alerts" {
  command = plan

  assert {
    # flip alerts.tf | share-fills = { | other = {
    # flip alerts.tf | nodes-not-ready = { | other = {
    # flip alerts.tf | share-unavailable = { | other = {
    condition     = keys(azurerm_monitor_metric_alert.this) == ["nodes-not-ready", "share-fills", "share-unavailable"]
    error_message = "alerts for share and nodes"
  }

  assert {
    # flip alerts.tf | * 0.8 | * 2
    # flip alerts.tf | metric = "FileCapacity" | metric = "FileCount"
    condition     = one(azurerm_monitor_metric_alert.this["share-fills"].criteria).threshold == 256 * 1024 * 1024 * 1024 * 0.8 && one(azurerm_monitor_metric_alert.this["share-fills"].criteria).metric_name == "FileCapacity"
    error_message = "a share that fills is told of at 80 %"
  }

  assert {
    # flip alerts.tf | metric = "Availability" | metric = "Transactions"
    # flip alerts.tf | threshold = 99.9 | threshold = 1
    condition     = one(azurerm_monitor_metric_alert.this["share-unavailable"].criteria).threshold == 99.9 && one(azurerm_monitor_metric_alert.this["share-unavailable"].criteria).metric_name == "Availability"
    error_message = "a share that fails is told of"
  }

  assert {
    # flip alerts.tf | values = ["NotReady", "Unknown"] | values = ["Ready"]
    condition     = tolist(one(one(azurerm_monitor_metric_alert.this["nodes-not-ready"].criteria).dimension).values) == tolist(["NotReady", "Unknown"])
    error_message = "a node that is not ready is told of"
  }

  assert {
    # flip alerts.tf | action_group_id = var.action_group.id | action_group_id = "${var.action_group.id}x"
    condition     = alltrue([for a in azurerm_monitor_metric_alert.this : endswith(one(a.action).action_group_id, "/actionGroups/a")])
    error_message = "somebody is told"
  }
}

# What is there already is taken as it is, and only the rest is made.
run "existing" {
  command = plan

  variables {
    existing_resource_group_name = "theirs"
    existing_cluster_id          = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/their-aks/providers/Microsoft.ContainerService/managedClusters/theirs"
    existing_network = {
      vnet_id            = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/their-net/providers/Microsoft.Network/virtualNetworks/theirs"
      nodes_subnet_id    = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/their-net/providers/Microsoft.Network/virtualNetworks/theirs/subnets/nodes"
      endpoint_subnet_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/their-net/providers/Microsoft.Network/virtualNetworks/theirs/subnets/endpoints"
    }
  }

  assert {
    # flip network.tf | count = var.existing_resource_group_name == null ? 1 : 0 | count = 1
    # flip cluster.tf | makes_cluster = var.existing_cluster_id == null | makes_cluster = true
    condition     = length(azurerm_resource_group.this) + length(azurerm_virtual_network.this) + length(azurerm_subnet.nodes) + length(azurerm_subnet.endpoints) + length(azurerm_kubernetes_cluster.this) + length(azurerm_user_assigned_identity.cluster) == 0
    error_message = "nothing is made that is there already"
  }

  assert {
    # flip network.tf | ? var.existing_network.endpoint_subnet_id | ? var.existing_network.nodes_subnet_id
    condition     = endswith(azurerm_private_endpoint.file.subnet_id, "/subnets/endpoints")
    error_message = "the private endpoint stands in the subnet that is there"
  }

  assert {
    # flip network.tf | ? split("/", var.existing_network.vnet_id)[4] | ? "other"
    condition     = azurerm_virtual_network_peering.this["cloud-blue"].resource_group_name == "their-net"
    error_message = "the VNet that is there is peered"
  }

  assert {
    # flip cluster.tf | data.azurerm_kubernetes_cluster.existing[0].oidc_issuer_url | "https://other.example.com/"
    condition     = azurerm_federated_identity_credential.workload["stamp"].issuer == "https://issuer.example.com/"
    error_message = "the issuer is that of the cluster that is there"
  }

  assert {
    # flip cluster.tf | data.azurerm_kubernetes_cluster.existing[0].kubelet_identity[0].object_id | data.azurerm_kubernetes_cluster.existing[0].kubelet_identity[0].client_id
    condition     = azurerm_role_assignment.pull[0].principal_id == "00000000-0000-0000-0000-000000000002"
    error_message = "the nodes that are there pull"
  }

  assert {
    # flip cluster.tf | resource_group_name = split("/", var.existing_cluster_id)[4] | resource_group_name = split("/", var.existing_cluster_id)[8]
    condition     = data.azurerm_kubernetes_cluster.existing[0].resource_group_name == "their-aks"
    error_message = "the cluster is looked for where it is"
  }

  assert {
    # flip network.tf | ? var.existing_resource_group_name | ? "other"
    condition     = azurerm_key_vault.this.resource_group_name == "theirs"
    error_message = "what is made stands in the group that is there"
  }
}
