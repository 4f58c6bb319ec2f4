# What the front door reaches over the internet, where it is not by Private Link.

locals {
  gateway = var.application_gateway ? 1 : 0

  # Known once the add-on runs; a cluster without it has none.
  ingress_controller = try(azurerm_kubernetes_cluster.this[0].ingress_application_gateway[0].ingress_application_gateway_identity[0].object_id, "")
}

# The front door's addresses, and what Azure itself needs. They are those of every
# front door: whose it was, the firewall below asks.
resource "azurerm_network_security_group" "application_gateway" {
  count = local.gateway

  name                = "${var.name}-application-gateway"
  resource_group_name = local.resource_group_name
  location            = var.location
  tags                = local.tags

  security_rule {
    name                       = "front-door"
    priority                   = 100
    direction                  = "Inbound"
    access                     = "Allow"
    protocol                   = "Tcp"
    source_address_prefix      = "AzureFrontDoor.Backend"
    source_port_range          = "*"
    destination_address_prefix = "*"
    destination_port_range     = "443"
  }

  security_rule {
    name                       = "gateway-manager"
    priority                   = 110
    direction                  = "Inbound"
    access                     = "Allow"
    protocol                   = "Tcp"
    source_address_prefix      = "GatewayManager"
    source_port_range          = "*"
    destination_address_prefix = "*"
    destination_port_range     = "65200-65535"
  }

  security_rule {
    name                       = "load-balancer"
    priority                   = 120
    direction                  = "Inbound"
    access                     = "Allow"
    protocol                   = "*"
    source_address_prefix      = "AzureLoadBalancer"
    source_port_range          = "*"
    destination_address_prefix = "*"
    destination_port_range     = "*"
  }

  security_rule {
    name                       = "nobody-else"
    priority                   = 200
    direction                  = "Inbound"
    access                     = "Deny"
    protocol                   = "*"
    source_address_prefix      = "Internet"
    source_port_range          = "*"
    destination_address_prefix = "*"
    destination_port_range     = "*"
  }
}

resource "azurerm_subnet_network_security_group_association" "application_gateway" {
  count = local.makes_network ? local.gateway : 0

  subnet_id                 = azurerm_subnet.application_gateway[0].id
  network_security_group_id = azurerm_network_security_group.application_gateway[0].id
}

# Requests of our own front door are let in, all others are refused with 403. Two
# rules, and the second asks for nothing that a request could lack: whoever sends
# no X-Azure-FDID at all is refused by it, too. What a request may look like was
# the front door's firewall to say; its body is not read here, whatever its size.
resource "azurerm_web_application_firewall_policy" "application_gateway" {
  count = local.gateway

  name                = "${var.name}-application-gateway"
  resource_group_name = local.resource_group_name
  location            = var.location
  tags                = local.tags

  custom_rules {
    name      = "OurFrontDoor"
    priority  = 10
    rule_type = "MatchRule"
    action    = "Allow"

    match_conditions {
      operator     = "Equal"
      match_values = compact([var.frontdoor_id])

      match_variables {
        variable_name = "RequestHeaders"
        selector      = "X-Azure-FDID"
      }
    }
  }

  # Every address but one that nobody has.
  custom_rules {
    name      = "NobodyElse"
    priority  = 20
    rule_type = "MatchRule"
    action    = "Block"

    match_conditions {
      operator           = "IPMatch"
      negation_condition = true
      match_values       = ["255.255.255.255/32"]

      match_variables {
        variable_name = "RemoteAddr"
      }
    }
  }

  policy_settings {
    enabled            = true
    mode               = "Prevention"
    request_body_check = false
    # A size is a bar of its own, 128 KiB unless it is taken away.
    request_body_enforcement = false
    file_upload_enforcement  = false
  }

  # A policy has to have some. None is come to: one of the rules above always decides.
  managed_rules {
    managed_rule_set {
      type    = "Microsoft_DefaultRuleSet"
      version = "2.1"
    }
  }

  lifecycle {
    precondition {
      condition     = var.frontdoor_id != null
      error_message = "frontdoor_id: needed with an Application Gateway, or everybody's front door reaches the stamp."
    }
  }
}

resource "azurerm_public_ip" "application_gateway" {
  count = local.gateway

  name                = "${var.name}-application-gateway"
  resource_group_name = local.resource_group_name
  location            = var.location
  allocation_method   = "Static"
  sku                 = "Standard"
  zones               = var.cluster.zones
  tags                = local.tags
}

# The cluster's ingress controller writes into it what Ingresses say: listeners,
# certificates, pools, probes. Here it has one of each, since it must, which lead
# nowhere.
resource "azurerm_application_gateway" "this" {
  count = local.gateway

  name                = "${var.name}-gateway"
  resource_group_name = local.resource_group_name
  location            = var.location
  zones               = var.cluster.zones
  firewall_policy_id  = azurerm_web_application_firewall_policy.application_gateway[0].id
  http2_enabled       = true
  tags                = local.tags

  sku {
    name = "WAF_v2"
    tier = "WAF_v2"
  }

  autoscale_configuration {
    min_capacity = 2
    max_capacity = 10
  }

  ssl_policy {
    policy_type = "Predefined"
    policy_name = "AppGwSslPolicy20220101"
  }

  gateway_ip_configuration {
    name      = "subnet"
    subnet_id = one(azurerm_subnet.application_gateway[*].id)
  }

  frontend_ip_configuration {
    name                 = "public"
    public_ip_address_id = azurerm_public_ip.application_gateway[0].id
  }

  frontend_port {
    name = "none"
    port = 80
  }

  backend_address_pool {
    name = "none"
  }

  backend_http_settings {
    name                  = "none"
    port                  = 80
    protocol              = "Http"
    cookie_based_affinity = "Disabled"
  }

  http_listener {
    name                           = "none"
    frontend_ip_configuration_name = "public"
    frontend_port_name             = "none"
    protocol                       = "Http"
  }

  request_routing_rule {
    name                       = "none"
    priority                   = 1
    rule_type                  = "Basic"
    http_listener_name         = "none"
    backend_address_pool_name  = "none"
    backend_http_settings_name = "none"
  }

  lifecycle {
    ignore_changes = [
      backend_address_pool, backend_http_settings, frontend_port, http_listener, probe, redirect_configuration,
      request_routing_rule, rewrite_rule_set, ssl_certificate, tags, url_path_map,
    ]

    precondition {
      condition     = local.makes_network && local.makes_cluster
      error_message = "application_gateway: only where network and cluster are made here; existing ones have what is in front of them."
    }

    precondition {
      condition     = var.origin == null
      error_message = "origin: not beside an Application Gateway. A stamp that is reached through Private Link has no other way in."
    }
  }

  depends_on = [azurerm_subnet_network_security_group_association.application_gateway]
}

# What the ingress controller may: write the gateway, join subnet and policy, and
# see the group they are in.
resource "azurerm_role_assignment" "application_gateway" {
  for_each = local.makes_network && local.makes_cluster && var.application_gateway ? {
    gateway = { scope = azurerm_application_gateway.this[0].id, role = "Network Contributor" }
    policy  = { scope = azurerm_web_application_firewall_policy.application_gateway[0].id, role = "Network Contributor" }
    subnet  = { scope = azurerm_subnet.application_gateway[0].id, role = "Network Contributor" }
    group   = { scope = local.resource_group_id, role = "Reader" }
  } : {}

  scope                = each.value.scope
  role_definition_name = each.value.role
  principal_id         = local.ingress_controller
  principal_type       = "ServicePrincipal"
}
