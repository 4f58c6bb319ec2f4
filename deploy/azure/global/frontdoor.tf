locals {
  frontdoor_profile_id = var.existing_frontdoor_profile_id != null ? var.existing_frontdoor_profile_id : azurerm_cdn_frontdoor_profile.this[0].id
}

data "azurerm_cdn_frontdoor_profile" "existing" {
  count = var.existing_frontdoor_profile_id == null ? 0 : 1

  name                = split("/", var.existing_frontdoor_profile_id)[8]
  resource_group_name = split("/", var.existing_frontdoor_profile_id)[4]

  lifecycle {
    postcondition {
      condition     = self.sku_name == "Premium_AzureFrontDoor"
      error_message = "existing_frontdoor_profile_id: a Premium profile. Standard has neither managed rules nor Private Link."
    }
  }
}

resource "azurerm_cdn_frontdoor_profile" "this" {
  count = var.existing_frontdoor_profile_id == null ? 1 : 0

  name                = "${var.name}-${var.environment}-door"
  resource_group_name = local.resource_group_name
  sku_name            = "Premium_AzureFrontDoor"
  # Above what a gateway takes at most: it may wait 30 s for the hub, 15 s for a disk.
  response_timeout_seconds = 60
  tags                     = local.tags
}

resource "azurerm_cdn_frontdoor_endpoint" "this" {
  name                     = "${var.name}-${var.environment}"
  cdn_frontdoor_profile_id = local.frontdoor_profile_id
  enabled                  = true
  tags                     = local.tags
}

resource "azurerm_cdn_frontdoor_custom_domain" "this" {
  count = var.domain == null ? 0 : 1

  name                     = replace(var.domain, ".", "-")
  cdn_frontdoor_profile_id = local.frontdoor_profile_id
  host_name                = var.domain

  tls {
    certificate_type = "ManagedCertificate"
  }
}

resource "azurerm_cdn_frontdoor_custom_domain_association" "this" {
  count = var.domain == null ? 0 : 1

  cdn_frontdoor_custom_domain_id = azurerm_cdn_frontdoor_custom_domain.this[0].id
  cdn_frontdoor_route_ids        = [azurerm_cdn_frontdoor_route.gateways.id]
}

resource "azurerm_cdn_frontdoor_origin_group" "gateways" {
  name                     = "gateways"
  cdn_frontdoor_profile_id = local.frontdoor_profile_id
  # Any stamp does for any client; a cookie would keep clients at a sick one.
  session_affinity_enabled                                  = false
  restore_traffic_time_to_healed_or_new_endpoint_in_minutes = 0

  load_balancing {
    additional_latency_in_milliseconds = var.latency_sensitivity_ms
    sample_size                        = var.probe.samples
    successful_samples_required        = var.probe.passing
  }

  health_probe {
    protocol            = "Https"
    path                = var.probe.path
    request_type        = "HEAD"
    interval_in_seconds = var.probe.interval_seconds
  }
}

resource "azurerm_cdn_frontdoor_origin" "stamp" {
  for_each = var.origins

  name                           = each.key
  cdn_frontdoor_origin_group_id  = azurerm_cdn_frontdoor_origin_group.gateways.id
  enabled                        = each.value.enabled
  host_name                      = each.value.host_name
  origin_host_header             = each.value.host_name
  https_port                     = 443
  certificate_name_check_enabled = true
  priority                       = each.value.priority
  weight                         = each.value.weight

  dynamic "private_link" {
    for_each = each.value.private_link == null ? [] : [each.value.private_link]

    content {
      private_link_target_id = private_link.value.service_id
      location               = private_link.value.location
      request_message        = "postroad front door"
    }
  }
}

# Nothing is cached: there is no cache block.
resource "azurerm_cdn_frontdoor_route" "gateways" {
  name                            = "gateways"
  cdn_frontdoor_endpoint_id       = azurerm_cdn_frontdoor_endpoint.this.id
  cdn_frontdoor_origin_group_id   = azurerm_cdn_frontdoor_origin_group.gateways.id
  cdn_frontdoor_origin_ids        = [for o in azurerm_cdn_frontdoor_origin.stamp : o.id]
  cdn_frontdoor_custom_domain_ids = azurerm_cdn_frontdoor_custom_domain.this[*].id
  patterns_to_match               = ["/*"]
  # TLS alone: before a redirect could say so, a message would have been sent in clear.
  supported_protocols    = ["Https"]
  https_redirect_enabled = false
  forwarding_protocol    = "HttpsOnly"
  link_to_default_domain = true
  enabled                = true
}

resource "azurerm_cdn_frontdoor_firewall_policy" "this" {
  name                       = "${var.name}${var.environment}waf"
  resource_group_name        = local.resource_group_name
  sku_name                   = "Premium_AzureFrontDoor"
  enabled                    = true
  mode                       = var.waf.mode
  request_body_check_enabled = var.waf.inspect_bodies
  tags                       = local.tags

  # No status code of our own, which would be that of all refusals. As it is, who
  # sends too much gets 429 and tries again, and what looks like an attack gets 403,
  # which a client does not repeat for ever.

  managed_rule {
    type    = "Microsoft_DefaultRuleSet"
    version = "2.1"
    action  = "Block"

    # What clients name in keys and attributes is theirs, as a message is.
    dynamic "exclusion" {
      for_each = {
        "key"             = { in = "QueryStringArgNames", operator = "Equals" }
        "Postroad-Key"    = { in = "RequestHeaderNames", operator = "Equals" }
        "Idempotency-Key" = { in = "RequestHeaderNames", operator = "Equals" }
        "Authorization"   = { in = "RequestHeaderNames", operator = "Equals" }
        "ce-"             = { in = "RequestHeaderNames", operator = "StartsWith" }
      }

      content {
        match_variable = exclusion.value.in
        operator       = exclusion.value.operator
        selector       = exclusion.key
      }
    }
  }

  managed_rule {
    type    = "Microsoft_BotManagerRuleSet"
    version = "1.1"
    action  = "Block"
  }

  custom_rule {
    name                           = "RateLimit"
    enabled                        = true
    type                           = "RateLimitRule"
    action                         = "Block"
    priority                       = 100
    rate_limit_duration_in_minutes = 1
    rate_limit_threshold           = var.waf.rate_limit

    # Everybody: a rule has to match something.
    match_condition {
      match_variable     = "SocketAddr"
      operator           = "IPMatch"
      match_values       = ["0.0.0.0/0", "::/0"]
      negation_condition = false
    }

    # A site comes by one address, with all that it has to say.
    dynamic "match_condition" {
      for_each = length(var.waf.unlimited) > 0 ? [1] : []

      content {
        match_variable     = "SocketAddr"
        operator           = "IPMatch"
        match_values       = var.waf.unlimited
        negation_condition = true
      }
    }
  }
}

resource "azurerm_cdn_frontdoor_security_policy" "this" {
  name                     = "waf"
  cdn_frontdoor_profile_id = local.frontdoor_profile_id

  security_policies {
    firewall {
      cdn_frontdoor_firewall_policy_id = azurerm_cdn_frontdoor_firewall_policy.this.id

      association {
        patterns_to_match = ["/*"]

        domain {
          cdn_frontdoor_domain_id = azurerm_cdn_frontdoor_endpoint.this.id
        }

        dynamic "domain" {
          for_each = azurerm_cdn_frontdoor_custom_domain.this

          content {
            cdn_frontdoor_domain_id = domain.value.id
          }
        }
      }
    }
  }
}
