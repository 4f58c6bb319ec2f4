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

  assert {
    # flip origin.tf | proxy_protocol_enabled = false | proxy_protocol_enabled = false\n  auto_approval_subscription_ids = [var.tenant_id]
    condition     = try(length(azurerm_private_link_service.origin[0].auto_approval_subscription_ids), 0) == 0
    error_message = "a person says whose front door it is"
  }

  assert {
    # flip gateway.tf | resource "azurerm_public_ip" "application_gateway" { count = local.gateway | resource "azurerm_public_ip" "application_gateway" {\n  count = 1
    condition     = length(azurerm_public_ip.application_gateway) == 0
    error_message = "the stamp has no address on the internet beside it"
  }

  assert {
    # flip origin.tf | subnet_id = local.endpoint_subnet_id | subnet_id = local.nodes_subnet_id | 1
    # flip origin.tf | subnet_id = local.endpoint_subnet_id | subnet_id = local.nodes_subnet_id | 2
    condition     = [for c in azurerm_private_link_service.origin[0].nat_ip_configuration : basename(c.subnet_id)] == ["endpoints", "endpoints"]
    error_message = "the Private Link service takes its addresses from the subnet for them"
  }

  assert {
    # flip outputs.tf | location = var.location } | location = "westus3" }
    condition     = endswith(output.private_link.service_id, "/privateLinkServices/made") && output.private_link.location == "eastus2"
    error_message = "the front door is told of it"
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
    frontdoor_id        = "00000000-0000-0000-0000-0000000000fd"
    origin              = null
  }

  override_resource {
    target = azurerm_kubernetes_cluster.this
    values = {
      id              = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.ContainerService/managedClusters/made"
      oidc_issuer_url = "https://issuer.example.com/made/"
      ingress_application_gateway = {
        ingress_application_gateway_identity = [{
          client_id                 = "00000000-0000-0000-0000-000000000005"
          object_id                 = "00000000-0000-0000-0000-000000000006"
          user_assigned_identity_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.ManagedIdentity/userAssignedIdentities/ingress"
        }]
      }
    }
  }

  assert {
    # flip gateway.tf | compact([var.frontdoor_id]) | ["00000000-0000-0000-0000-000000000000"]
    # flip gateway.tf | selector = "X-Azure-FDID" | selector = "X-Azure-Ref"
    # flip gateway.tf | variable_name = "RequestHeaders" | variable_name = "RequestCookies"
    # flip gateway.tf | operator = "Equal" | operator = "Contains"
    condition     = [for r in azurerm_web_application_firewall_policy.application_gateway[0].custom_rules : "${r.priority} ${r.match_conditions[0].match_variables[0].variable_name} ${r.match_conditions[0].match_variables[0].selector} ${r.match_conditions[0].operator} ${join(",", r.match_conditions[0].match_values)}" if r.action == "Allow"] == ["10 RequestHeaders X-Azure-FDID Equal 00000000-0000-0000-0000-0000000000fd"]
    error_message = "requests of our front door are let in"
  }

  assert {
    # flip gateway.tf | action = "Block" | action = "Log"
    # flip gateway.tf | priority = 20 | priority = 5
    # flip gateway.tf | negation_condition = true | negation_condition = false
    # flip gateway.tf | variable_name = "RemoteAddr" | variable_name = "QueryString"
    # flip gateway.tf | ["255.255.255.255/32"] | ["0.0.0.0/1"]
    condition     = [for r in azurerm_web_application_firewall_policy.application_gateway[0].custom_rules : "${r.priority} ${length(r.match_conditions)} ${r.match_conditions[0].match_variables[0].variable_name} ${r.match_conditions[0].negation_condition} ${join(",", r.match_conditions[0].match_values)}" if r.action == "Block"] == ["20 1 RemoteAddr true 255.255.255.255/32"]
    error_message = "requests that came by nobody's or another's front door are refused"
  }

  assert {
    # flip gateway.tf | mode = "Prevention" | mode = "Detection"
    # flip gateway.tf | enabled = true | enabled = false
    condition     = azurerm_web_application_firewall_policy.application_gateway[0].policy_settings[0].mode == "Prevention" && azurerm_web_application_firewall_policy.application_gateway[0].policy_settings[0].enabled
    error_message = "what is refused is not only noted"
  }

  assert {
    # flip gateway.tf | request_body_check = false | request_body_check = true
    # flip gateway.tf | request_body_enforcement = false | request_body_enforcement = true
    # flip gateway.tf | file_upload_enforcement = false | file_upload_enforcement = true
    condition     = [for s in azurerm_web_application_firewall_policy.application_gateway[0].policy_settings : s.request_body_check || s.request_body_enforcement || s.file_upload_enforcement] == [false]
    error_message = "a large message is not refused for its size"
  }

  assert {
    # flip gateway.tf | name = "WAF_v2" | name = "Standard_v2"
    # flip gateway.tf | tier = "WAF_v2" | tier = "Standard_v2"
    condition     = azurerm_application_gateway.this[0].sku[0].name == "WAF_v2" && azurerm_application_gateway.this[0].sku[0].tier == "WAF_v2"
    error_message = "the gateway has a firewall"
  }

  assert {
    # flip gateway.tf | zones = var.cluster.zones | zones = ["1"] | 1
    # flip gateway.tf | zones = var.cluster.zones | zones = ["1"] | 2
    condition     = length(azurerm_application_gateway.this[0].zones) == 3 && length(azurerm_public_ip.application_gateway[0].zones) == 3
    error_message = "the gateway and its address are in three zones"
  }

  assert {
    # flip gateway.tf | min_capacity = 2 | min_capacity = 0
    condition     = azurerm_application_gateway.this[0].autoscale_configuration[0].min_capacity == 2
    error_message = "the gateway has two instances at least"
  }

  assert {
    # flip gateway.tf | AppGwSslPolicy20220101 | AppGwSslPolicy20150501
    condition     = azurerm_application_gateway.this[0].ssl_policy[0].policy_name == "AppGwSslPolicy20220101"
    error_message = "the gateway speaks TLS 1.2 or later"
  }

  assert {
    # flip gateway.tf | destination_port_range = "443" | destination_port_range = "*"
    # flip gateway.tf | source_address_prefix = "AzureFrontDoor.Backend" | source_address_prefix = "Internet"
    condition     = [for r in azurerm_network_security_group.application_gateway[0].security_rule : r.destination_port_range if r.source_address_prefix == "AzureFrontDoor.Backend" && r.access == "Allow"] == ["443"]
    error_message = "front doors reach the Application Gateway"
  }

  assert {
    # flip gateway.tf | access = "Deny" | access = "Allow"
    # flip gateway.tf | priority = 200 | priority = 105
    condition     = [for r in azurerm_network_security_group.application_gateway[0].security_rule : r.priority if r.source_address_prefix == "Internet" && r.access == "Deny"] == [200]
    error_message = "nobody else reaches the Application Gateway"
  }

  assert {
    # flip gateway.tf | count = local.makes_network ? local.gateway : 0 | count = 0
    condition     = length(azurerm_subnet_network_security_group_association.application_gateway) == 1
    error_message = "the rules count"
  }

  assert {
    # flip gateway.tf | role = "Network Contributor" | role = "Owner" | 1
    # flip gateway.tf | role = "Network Contributor" | role = "Owner" | 2
    # flip gateway.tf | role = "Network Contributor" | role = "Owner" | 3
    # flip gateway.tf | role = "Reader" | role = "Owner"
    condition     = { for k, r in azurerm_role_assignment.application_gateway : k => r.role_definition_name } == { gateway = "Network Contributor", group = "Reader", policy = "Network Contributor", subnet = "Network Contributor" }
    error_message = "the ingress controller writes its gateway, and no more"
  }

  assert {
    # flip gateway.tf | firewall_policy_id = azurerm_web_application_firewall_policy.application_gateway[0].id | firewall_policy_id = null
    # flip gateway.tf | one(azurerm_subnet.application_gateway[*].id) | one(azurerm_subnet.nodes[*].id)
    condition     = basename(coalesce(azurerm_application_gateway.this[0].firewall_policy_id, "none")) == "made" && basename(azurerm_application_gateway.this[0].gateway_ip_configuration[0].subnet_id) == "application-gateway"
    error_message = "the gateway has that firewall, in that subnet"
  }

  assert {
    # flip gateway.tf | subnet_id = azurerm_subnet.application_gateway[0].id | subnet_id = azurerm_subnet.nodes[0].id
    condition     = basename(azurerm_subnet_network_security_group_association.application_gateway[0].subnet_id) == "application-gateway"
    error_message = "the rules are those of the gateway's subnet"
  }

  assert {
    # flip cluster.tf | gateway_id = azurerm_application_gateway.this[0].id | subnet_id = one(azurerm_subnet.application_gateway[*].id)
    condition     = endswith(coalesce(azurerm_kubernetes_cluster.this[0].ingress_application_gateway[0].gateway_id, "none"), "/applicationGateways/made")
    error_message = "the cluster's ingress controller writes to that gateway"
  }

  assert {
    # flip gateway.tf | gateway = { scope = azurerm_application_gateway.this[0].id | gateway = { scope = local.resource_group_id
    # flip gateway.tf | subnet = { scope = azurerm_subnet.application_gateway[0].id | subnet = { scope = azurerm_subnet.nodes[0].id
    # flip gateway.tf | group = { scope = local.resource_group_id | group = { scope = dirname(local.resource_group_id)
    # flip gateway.tf | ingress_application_gateway_identity[0].object_id | ingress_application_gateway_identity[0].client_id
    condition     = [for k, r in azurerm_role_assignment.application_gateway : "${k} ${basename(dirname(r.scope))}/${basename(r.scope)} ${substr(r.principal_id, -1, 1)}"] == ["gateway applicationGateways/made 6", "group resourceGroups/made 6", "policy applicationGatewayWebApplicationFirewallPolicies/made 6", "subnet subnets/application-gateway 6"]
    error_message = "the ingress controller may that where it has to, and nowhere else"
  }
}

# flip gateway.tf | condition = var.frontdoor_id != null | condition = var.environment != ""
run "application_gateway_wants_to_know_its_front_door" {
  command = plan

  variables {
    application_gateway = true
    origin              = null
  }

  expect_failures = [azurerm_web_application_firewall_policy.application_gateway]
}

# flip gateway.tf | condition = local.makes_network && local.makes_cluster | condition = local.makes_network
run "application_gateway_wants_its_own_cluster" {
  command = plan

  variables {
    application_gateway = true
    frontdoor_id        = "00000000-0000-0000-0000-0000000000fd"
    origin              = null
    existing_cluster_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/their-aks/providers/Microsoft.ContainerService/managedClusters/theirs"
  }

  expect_failures = [azurerm_application_gateway.this]
}

# flip gateway.tf | condition = local.makes_network && local.makes_cluster | condition = local.makes_cluster
run "application_gateway_wants_its_own_network" {
  command = plan

  variables {
    application_gateway = true
    frontdoor_id        = "00000000-0000-0000-0000-0000000000fd"
    origin              = null
    existing_network = {
      vnet_id            = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/their-net/providers/Microsoft.Network/virtualNetworks/theirs"
      nodes_subnet_id    = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/their-net/providers/Microsoft.Network/virtualNetworks/theirs/subnets/nodes"
      endpoint_subnet_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/their-net/providers/Microsoft.Network/virtualNetworks/theirs/subnets/endpoints"
    }
  }

  expect_failures = [azurerm_application_gateway.this]
}

# flip gateway.tf | condition = var.origin == null | condition = var.environment != ""
run "private_link_wants_no_application_gateway" {
  command = plan

  variables {
    application_gateway = true
    frontdoor_id        = "00000000-0000-0000-0000-0000000000fd"
  }

  expect_failures = [azurerm_application_gateway.this]
}
