locals {
  frontdoor_profile_id = var.existing_frontdoor_profile_id != null ? var.existing_frontdoor_profile_id : azurerm_cdn_frontdoor_profile.this[0].id
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
  name                          = "gateways"
  cdn_frontdoor_endpoint_id     = azurerm_cdn_frontdoor_endpoint.this.id
  cdn_frontdoor_origin_group_id = azurerm_cdn_frontdoor_origin_group.gateways.id
  cdn_frontdoor_origin_ids      = [for o in azurerm_cdn_frontdoor_origin.stamp : o.id]
  patterns_to_match             = ["/*"]
  supported_protocols           = ["Http", "Https"]
  https_redirect_enabled        = true
  forwarding_protocol           = "HttpsOnly"
  link_to_default_domain        = true
  enabled                       = true
}

resource "azurerm_cdn_frontdoor_firewall_policy" "this" {
  name                       = "${var.name}${var.environment}waf"
  resource_group_name        = local.resource_group_name
  sku_name                   = "Premium_AzureFrontDoor"
  enabled                    = true
  mode                       = var.waf.mode
  request_body_check_enabled = var.waf.inspect_bodies
  # What a client that keeps to its limits understands.
  custom_block_response_status_code = 429
  tags                              = local.tags

  managed_rule {
    type    = "Microsoft_DefaultRuleSet"
    version = "2.1"
    action  = "Block"
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
      }
    }
  }
}
