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
    # flip cluster.tf | for_each = length(var.cluster.api_server_ranges) > 0 ? [1] : [] | for_each = []
    # flip cluster.tf | authorized_ip_ranges = var.cluster.api_server_ranges | authorized_ip_ranges = ["0.0.0.0/0"]
    condition     = [for a in azurerm_kubernetes_cluster.this[0].api_server_access_profile : join(" ", a.authorized_ip_ranges)] == ["192.0.2.0/24"]
    error_message = "the cluster's API is reached from named addresses"
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
    # flip cluster.tf | scope = var.registry.id | scope = local.resource_group_id
    condition     = azurerm_role_assignment.pull[0].role_definition_name == "AcrPull" && endswith(azurerm_role_assignment.pull[0].scope, "/registries/r")
    error_message = "nodes pull from the registry, and no more"
  }

  assert {
    # flip cluster.tf | role_definition_name = "Network Contributor" | role_definition_name = "Owner"
    condition     = alltrue([for r in azurerm_role_assignment.cluster_subnets : r.role_definition_name == "Network Contributor"])
    error_message = "the cluster uses its subnets, and no more"
  }

  assert {
    # flip cluster.tf | category = "kube-audit-admin" | category = "kube-scheduler"
    condition     = contains([for l in azurerm_monitor_diagnostic_setting.cluster[0].enabled_log : l.category], "kube-audit-admin")
    error_message = "who changed the cluster is logged"
  }

  assert {
    # flip cluster.tf | ? azurerm_user_assigned_identity.kubelet[0].principal_id | ? azurerm_user_assigned_identity.cluster[0].principal_id
    # flip cluster.tf | object_id = azurerm_user_assigned_identity.kubelet[0].principal_id | object_id = azurerm_user_assigned_identity.cluster[0].principal_id
    condition     = azurerm_role_assignment.pull[0].principal_id == "00000000-0000-0000-0000-000000000021" && azurerm_kubernetes_cluster.this[0].kubelet_identity[0].object_id == "00000000-0000-0000-0000-000000000021"
    error_message = "it is the nodes who pull"
  }

  assert {
    # flip cluster.tf | role_definition_name = "Managed Identity Operator" | role_definition_name = "Managed Identity Contributor"
    # flip cluster.tf | scope = azurerm_user_assigned_identity.kubelet[0].id | scope = local.resource_group_id
    condition     = azurerm_role_assignment.kubelet[0].role_definition_name == "Managed Identity Operator" && endswith(azurerm_role_assignment.kubelet[0].scope, "/kubelet")
    error_message = "the cluster gives its nodes their identity, and no other"
  }

  assert {
    # flip cluster.tf | vnet_subnet_id = local.nodes_subnet_id | vnet_subnet_id = local.endpoint_subnet_id
    condition     = basename(azurerm_kubernetes_cluster.this[0].default_node_pool[0].vnet_subnet_id) == "nodes"
    error_message = "nodes stand in their subnet"
  }
}

run "identity_of_the_chart" {
  command = plan

  assert {
    # flip variables.tf | service_account = "postroad-gateway" | service_account = "default"
    # flip variables.tf | service_account = "postroad-stream" | service_account = "default"
    # flip variables.tf | default = "postroad" | default = "default"
    condition     = { for k, c in azurerm_federated_identity_credential.workload : k => c.subject } == { gateway = "system:serviceaccount:postroad:postroad-gateway", stream = "system:serviceaccount:postroad:postroad-stream" }
    error_message = "the chart's service accounts have identities"
  }

  assert {
    # flip variables.tf | send = true, receive = true | send = true, receive = false
    # flip variables.tf | send = false, receive = true | send = true, receive = true
    condition     = keys(azurerm_role_assignment.hub) == ["gateway/messages/receive", "gateway/messages/send", "stream/messages/receive"]
    error_message = "stream nodes cannot send"
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

  assert {
    # flip identity.tf | principal_id = azurerm_user_assigned_identity.workload[each.value.workload].principal_id | principal_id = local.kubelet
    # flip identity.tf | principal_id = azurerm_user_assigned_identity.workload[each.key].principal_id | principal_id = local.kubelet
    condition     = alltrue([for r in concat(values(azurerm_role_assignment.hub), values(azurerm_role_assignment.vault)) : r.principal_id == "00000000-0000-0000-0000-000000000031"])
    error_message = "roles are those of workloads, not of nodes"
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
    # flip flux.tf | url = var.flux.url | url = "https://git.example.com/other"
    # flip flux.tf | reference_value = var.flux.branch | reference_value = "other"
    # flip variables.tf | branch = optional(string, "main") | branch = optional(string, "master")
    # flip flux.tf | local_auth_reference = var.flux.secret | local_auth_reference = null
    condition     = [for r in azurerm_kubernetes_flux_configuration.this[0].git_repository : "${r.url} ${r.reference_value} ${coalesce(r.local_auth_reference, "-")}"] == ["https://git.example.com/postroad main postroad-git"]
    error_message = "Flux reads the branch main of the repository"
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

# What is there already is taken as it is, and only the rest is made.
run "existing" {
  command = plan

  variables {
    existing_resource_group_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/theirs"
    existing_cluster_id        = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/their-aks/providers/Microsoft.ContainerService/managedClusters/theirs"
    existing_network = {
      vnet_id            = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/their-net/providers/Microsoft.Network/virtualNetworks/theirs"
      nodes_subnet_id    = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/their-net/providers/Microsoft.Network/virtualNetworks/theirs/subnets/nodes"
      endpoint_subnet_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/their-net/providers/Microsoft.Network/virtualNetworks/theirs/subnets/endpoints"
      file_dns_zone_id   = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/their-dns/providers/Microsoft.Network/privateDnsZones/privatelink.file.core.windows.net"
    }
  }

  assert {
    # flip share.tf | count = try(var.existing_network.file_dns_zone_id, null) == null ? 1 : 0 | count = 1 | 1
    # flip share.tf | ? var.existing_network.file_dns_zone_id : | ? replace(var.existing_network.file_dns_zone_id, "their-dns", "other") :
    condition     = length(azurerm_private_dns_zone.file) == 0 && length(azurerm_private_dns_zone_virtual_network_link.file) == 0 && split("/", azurerm_private_endpoint.file.private_dns_zone_group[0].private_dns_zone_ids[0])[4] == "their-dns"
    error_message = "the zone of names that is there is used"
  }

  assert {
    # flip network.tf | count = var.existing_resource_group_id == null ? 1 : 0 | count = 1
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
    condition     = azurerm_federated_identity_credential.workload["gateway"].issuer == "https://issuer.example.com/"
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
    # flip network.tf | ? split("/", var.existing_resource_group_id)[4] | ? "other"
    condition     = azurerm_key_vault.this.resource_group_name == "theirs"
    error_message = "what is made stands in the group that is there"
  }
}

# flip cluster.tf | self.oidc_issuer_enabled && length(self.key_vault_secrets_provider) > 0 | length(self.key_vault_secrets_provider) > 0
run "existing_cluster_has_an_issuer" {
  command = plan

  variables {
    existing_cluster_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/their-aks/providers/Microsoft.ContainerService/managedClusters/theirs"
  }

  override_data {
    target = data.azurerm_kubernetes_cluster.existing
    values = {
      oidc_issuer_enabled        = false
      key_vault_secrets_provider = [{ secret_rotation_enabled = true, secret_rotation_interval = "2m", secret_identity = [] }]
      kubelet_identity           = [{ client_id = "", object_id = "00000000-0000-0000-0000-000000000002", user_assigned_identity_id = "" }]
    }
  }

  expect_failures = [data.azurerm_kubernetes_cluster.existing]
}

run "gate" {
  command = plan

  variables {
    gate = { principal_id = "00000000-0000-0000-0000-000000000009" }
  }

  assert {
    # flip gate.tf | "Microsoft.ContainerService/managedClusters/runCommand/action", | "Microsoft.ContainerService/managedClusters/*",
    # flip gate.tf | data_actions = ["Microsoft.ContainerService/managedClusters/*/read"] | data_actions = ["Microsoft.ContainerService/managedClusters/*"]
    # flip gate.tf | not_data_actions = ["Microsoft.ContainerService/managedClusters/secrets/read"] | not_data_actions = []
    condition     = [for p in azurerm_role_definition.gate[0].permissions : "${join(" ", [for a in p.actions : trimprefix(a, "Microsoft.ContainerService/managedClusters/")])}; ${join(" ", [for a in p.data_actions : trimprefix(a, "Microsoft.ContainerService/managedClusters/")])}; ${join(" ", [for a in p.not_data_actions : trimprefix(a, "Microsoft.ContainerService/managedClusters/")])}"] == ["read runCommand/action commandResults/read; */read; secrets/read"]
    error_message = "who watches a deployment reads, no Secret, and changes nothing"
  }

  assert {
    # flip gate.tf | scope = local.cluster_id | scope = local.resource_group_id
    # flip gate.tf | principal_id = var.gate.principal_id | principal_id = local.kubelet
    # flip gate.tf | slice(split("/", local.cluster_id), 0, 5) | slice(split("/", local.cluster_id), 0, 3)
    condition     = endswith(azurerm_role_assignment.gate[0].scope, "/managedClusters/made") && azurerm_role_assignment.gate[0].principal_id == "00000000-0000-0000-0000-000000000009" && endswith(azurerm_role_definition.gate[0].scope, "/resourceGroups/made")
    error_message = "and that of this cluster alone"
  }
}
