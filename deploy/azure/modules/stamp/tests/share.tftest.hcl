# One assertion for each property, with the changes ("# flip FILE | WAS | IS | N", N
# the occurrence) that have to make it fail; test/azure makes them.

mock_provider "azurerm" {
  # What the provider looks at before it takes it.
  mock_resource "azurerm_role_definition" {
    defaults = {
      role_definition_resource_id = "/subscriptions/00000000-0000-0000-0000-000000000001/providers/Microsoft.Authorization/roleDefinitions/00000000-0000-0000-0000-00000000000a"
    }
  }

  mock_resource "azurerm_resource_group" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made"
    }
  }

  mock_resource "azurerm_virtual_network" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Network/virtualNetworks/made"
    }
  }

  mock_resource "azurerm_subnet" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Network/virtualNetworks/made/subnets/made"
    }
  }

  mock_resource "azurerm_network_security_group" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Network/networkSecurityGroups/made"
    }
  }

  mock_resource "azurerm_public_ip" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Network/publicIPAddresses/made"
    }
  }

  mock_resource "azurerm_web_application_firewall_policy" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Network/applicationGatewayWebApplicationFirewallPolicies/made"
    }
  }

  mock_resource "azurerm_application_gateway" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Network/applicationGateways/made"
    }
  }

  mock_resource "azurerm_user_assigned_identity" {
    defaults = {
      id           = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.ManagedIdentity/userAssignedIdentities/made"
      principal_id = "00000000-0000-0000-0000-000000000007"
      client_id    = "00000000-0000-0000-0000-000000000008"
    }
  }

  mock_resource "azurerm_kubernetes_cluster" {
    defaults = {
      id              = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.ContainerService/managedClusters/made"
      oidc_issuer_url = "https://issuer.example.com/made/"
    }
  }

  mock_resource "azurerm_storage_account" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Storage/storageAccounts/made"
    }
  }

  mock_resource "azurerm_key_vault" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.KeyVault/vaults/made"
    }
  }

  mock_resource "azurerm_private_dns_zone" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Network/privateDnsZones/made"
    }
  }

  mock_resource "azurerm_private_link_service" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Network/privateLinkServices/made"
    }
  }

  mock_data "azurerm_kubernetes_cluster" {
    defaults = {
      oidc_issuer_enabled        = true
      oidc_issuer_url            = "https://issuer.example.com/"
      key_vault_secrets_provider = [{ secret_rotation_enabled = true, secret_rotation_interval = "2m", secret_identity = [] }]
      kubelet_identity = [{
        client_id                 = "00000000-0000-0000-0000-000000000003"
        object_id                 = "00000000-0000-0000-0000-000000000002"
        user_assigned_identity_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/theirs/providers/Microsoft.ManagedIdentity/userAssignedIdentities/kubelet"
      }]
    }
  }
}

override_resource {
  target = azurerm_subnet.nodes
  values = {
    id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Network/virtualNetworks/made/subnets/nodes"
  }
}

override_resource {
  target = azurerm_subnet.endpoints
  values = {
    id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Network/virtualNetworks/made/subnets/endpoints"
  }
}

override_resource {
  target = azurerm_subnet.application_gateway
  values = {
    id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Network/virtualNetworks/made/subnets/application-gateway"
  }
}

override_resource {
  target = azurerm_user_assigned_identity.cluster
  values = {
    id           = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.ManagedIdentity/userAssignedIdentities/cluster"
    principal_id = "00000000-0000-0000-0000-000000000011"
    client_id    = "00000000-0000-0000-0000-000000000012"
  }
}

override_resource {
  target = azurerm_user_assigned_identity.kubelet
  values = {
    id           = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.ManagedIdentity/userAssignedIdentities/kubelet"
    principal_id = "00000000-0000-0000-0000-000000000021"
    client_id    = "00000000-0000-0000-0000-000000000022"
  }
}

override_resource {
  target = azurerm_user_assigned_identity.workload
  values = {
    id           = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.ManagedIdentity/userAssignedIdentities/workload"
    principal_id = "00000000-0000-0000-0000-000000000031"
    client_id    = "00000000-0000-0000-0000-000000000032"
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
  flux          = { url = "https://git.example.com/postroad", secret = "postroad-git" }
  cluster       = { api_server_ranges = ["192.0.2.0/24"] }
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
    # flip share.tf | local_user_enabled = false | local_user_enabled = true
    # flip share.tf | allow_nested_items_to_be_public = false | allow_nested_items_to_be_public = true
    condition     = azurerm_storage_account.queue.min_tls_version == "TLS1_2" && !azurerm_storage_account.queue.local_user_enabled && !azurerm_storage_account.queue.allow_nested_items_to_be_public
    error_message = "the account has no other way in"
  }

  assert {
    # flip share.tf | subresource_names = ["file"] | subresource_names = ["blob"]
    condition     = azurerm_private_endpoint.file.private_service_connection[0].subresource_names[0] == "file"
    error_message = "the share is reached by a private endpoint"
  }

  assert {
    # flip share.tf | name = "privatelink.file.core.windows.net" | name = "privatelink.blob.core.windows.net"
    # flip share.tf | virtual_network_id = local.vnet_id | virtual_network_id = replace(local.vnet_id, "/made", "/other")
    condition     = [for z in azurerm_private_dns_zone.file : z.name] == ["privatelink.file.core.windows.net"] && [for l in azurerm_private_dns_zone_virtual_network_link.file : endswith(l.virtual_network_id, "/virtualNetworks/made")] == [true]
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

  assert {
    # flip share.tf | subnet_id = local.endpoint_subnet_id | subnet_id = local.nodes_subnet_id
    # flip share.tf | private_connection_resource_id = azurerm_storage_account.queue.id | private_connection_resource_id = azurerm_key_vault.this.id
    condition     = basename(azurerm_private_endpoint.file.subnet_id) == "endpoints" && endswith(azurerm_private_endpoint.file.private_service_connection[0].private_connection_resource_id, "/storageAccounts/made")
    error_message = "the private endpoint is that of the share's account"
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
    # flip share.tf | account_replication_type = var.share.replication | account_replication_type = "ZRS"
    condition     = azurerm_storage_account.queue.account_replication_type == "LRS"
    error_message = "LRS is taken in dev"
  }

  assert {
    # flip share.tf | count = var.environment == "prod" ? 1 : 0 | count = 1
    condition     = length(azurerm_management_lock.queue) == 0
    error_message = "dev can be torn down"
  }
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

  assert {
    # flip vault.tf | [local.nodes_subnet_id] | [local.endpoint_subnet_id]
    condition     = [for s in azurerm_key_vault.this.network_acls[0].virtual_network_subnet_ids : basename(s)] == ["nodes"]
    error_message = "nodes reach the vault"
  }
}

run "alerts" {
  command = plan

  assert {
    # flip alerts.tf | share-fills = { | other = {
    # flip alerts.tf | nodes-not-ready = { | other = {
    # flip alerts.tf | share-unavailable = { | other = {
    # flip alerts.tf | share-half-full = { | other = {
    condition     = keys(azurerm_monitor_metric_alert.this) == ["nodes-not-ready", "share-fills", "share-half-full", "share-unavailable"]
    error_message = "alerts for share and nodes"
  }

  assert {
    # flip alerts.tf | * 0.8 | * 2
    # flip alerts.tf | metric = "FileCapacity" | metric = "FileCount" | 2
    # flip alerts.tf | window = "PT1H" | window = "PT6H" | 2
    # flip alerts.tf | operator = "GreaterThan" | operator = "LessThan" | 2
    # flip alerts.tf | operator = each.value.operator | operator = "LessThan"
    # flip alerts.tf | threshold = each.value.threshold | threshold = 1
    # flip alerts.tf | metric_name = each.value.metric | metric_name = "FileCount"
    condition     = [for c in azurerm_monitor_metric_alert.this["share-fills"].criteria : "${c.metric_name} ${c.operator} ${c.threshold}"] == ["FileCapacity GreaterThan ${256 * 1024 * 1024 * 1024 * 0.8}"] && azurerm_monitor_metric_alert.this["share-fills"].window_size == "PT1H"
    error_message = "a share that fills is told of at 80 %, within the hour"
  }

  assert {
    # flip alerts.tf | * 0.5 | * 2
    # flip alerts.tf | metric = "FileCapacity" | metric = "FileCount" | 1
    # flip alerts.tf | operator = "GreaterThan" | operator = "LessThan" | 1
    # flip alerts.tf | window = "PT1H" | window = "PT6H" | 1
    condition     = [for c in azurerm_monitor_metric_alert.this["share-half-full"].criteria : "${c.metric_name} ${c.operator} ${c.threshold}"] == ["FileCapacity GreaterThan ${256 * 1024 * 1024 * 1024 * 0.5}"] && azurerm_monitor_metric_alert.this["share-half-full"].window_size == "PT1H"
    error_message = "messages that pile up are told of at half of the share"
  }

  assert {
    # flip alerts.tf | metric = "Availability" | metric = "Transactions"
    # flip alerts.tf | threshold = 99.9 | threshold = 1
    # flip alerts.tf | operator = "LessThan" | operator = "GreaterThan"
    condition     = [for c in azurerm_monitor_metric_alert.this["share-unavailable"].criteria : "${c.metric_name} ${c.operator} ${c.threshold}"] == ["Availability LessThan 99.9"]
    error_message = "a share that fails is told of"
  }

  assert {
    # flip alerts.tf | values = ["NotReady", "Unknown"] | values = ["Ready"]
    # flip alerts.tf | metric = "kube_node_status_condition" | metric = "node_cpu_usage_percentage"
    # flip alerts.tf | operator = "GreaterThan" | operator = "LessThan" | 3
    # flip alerts.tf | values = dimension.value.values | values = ["*"]
    condition     = [for c in azurerm_monitor_metric_alert.this["nodes-not-ready"].criteria : "${c.metric_name} ${c.dimension[0].name} ${join(" ", c.dimension[0].values)} ${c.operator} ${c.threshold}"] == ["kube_node_status_condition status2 NotReady Unknown GreaterThan 0"]
    error_message = "a node that is not ready is told of"
  }

  assert {
    # flip alerts.tf | action_group_id = var.action_group.id | action_group_id = "${var.action_group.id}x"
    condition     = alltrue([for a in azurerm_monitor_metric_alert.this : endswith(one(a.action).action_group_id, "/actionGroups/a")])
    error_message = "somebody is told"
  }

  assert {
    # flip alerts.tf | scope = "${azurerm_storage_account.queue.id}/fileServices/default" | scope = azurerm_storage_account.queue.id | 1
    # flip alerts.tf | scope = "${azurerm_storage_account.queue.id}/fileServices/default" | scope = azurerm_storage_account.queue.id | 2
    # flip alerts.tf | scope = azurerm_storage_account.queue.id | scope = azurerm_key_vault.this.id
    # flip alerts.tf | scope = local.cluster_id | scope = local.resource_group_id
    # flip alerts.tf | scopes = [each.value.scope] | scopes = [local.cluster_id]
    condition     = { for k, a in azurerm_monitor_metric_alert.this : k => basename(dirname(one(a.scopes))) } == { nodes-not-ready = "managedClusters", share-fills = "fileServices", share-half-full = "fileServices", share-unavailable = "storageAccounts" }
    error_message = "alerts look at the stamp's own share and cluster"
  }
}
