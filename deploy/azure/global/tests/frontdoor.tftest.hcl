# One assertion for each property. The line "# flip FILE | WAS | IS" above or in an
# assertion is a change of the code that has to make it fail, and is made by
# test/azure. What the service does with all this is not tested here.

mock_provider "azurerm" {
  # What the provider looks at before it takes it.
  mock_resource "azurerm_cdn_frontdoor_custom_domain" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Cdn/profiles/made/customDomains/made"
    }
  }

  mock_resource "azurerm_cdn_frontdoor_route" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Cdn/profiles/made/afdEndpoints/made/routes/made"
    }
  }

  mock_resource "azurerm_container_registry_scope_map" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.ContainerRegistry/registries/madehere/scopeMaps/made"
    }
  }

  mock_resource "azurerm_user_assigned_identity" {
    defaults = {
      id           = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.ManagedIdentity/userAssignedIdentities/made"
      principal_id = "00000000-0000-0000-0000-000000000007"
      client_id    = "00000000-0000-0000-0000-000000000008"
    }
  }

  mock_resource "azurerm_resource_group" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made"
    }
  }

  mock_resource "azurerm_log_analytics_workspace" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.OperationalInsights/workspaces/made"
    }
  }

  mock_resource "azurerm_container_registry" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.ContainerRegistry/registries/madehere"
    }
  }

  mock_resource "azurerm_eventhub_namespace" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.EventHub/namespaces/made"
    }
  }

  mock_resource "azurerm_eventhub" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.EventHub/namespaces/made/eventhubs/messages"
    }
  }

  mock_resource "azurerm_cdn_frontdoor_profile" {
    defaults = {
      id            = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Cdn/profiles/made"
      resource_guid = "00000000-0000-0000-0000-0000000000aa"
    }
  }

  mock_resource "azurerm_cdn_frontdoor_endpoint" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Cdn/profiles/made/afdEndpoints/made"
    }
  }

  mock_resource "azurerm_cdn_frontdoor_origin_group" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Cdn/profiles/made/originGroups/made"
    }
  }

  mock_resource "azurerm_cdn_frontdoor_origin" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Cdn/profiles/made/originGroups/made/origins/made"
    }
  }

  mock_resource "azurerm_cdn_frontdoor_firewall_policy" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Network/frontDoorWebApplicationFirewallPolicies/made"
    }
  }

  mock_resource "azurerm_monitor_action_group" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Insights/actionGroups/made"
    }
  }

  mock_data "azurerm_cdn_frontdoor_profile" {
    defaults = {
      sku_name      = "Premium_AzureFrontDoor"
      resource_guid = "00000000-0000-0000-0000-0000000000fd"
    }
  }

  mock_data "azurerm_container_registry" {
    defaults = {
      login_server = "theirs.example.com"
    }
  }
}

variables {
  name        = "plant"
  environment = "prod"
  origins = {
    cloud-green = { host_name = "green.example.com", priority = 1, weight = 500, private_link = {
      service_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/g/providers/Microsoft.Network/privateLinkServices/green"
      location   = "eastus2"
    } }
    cloud-blue = { host_name = "blue.example.com", priority = 2, weight = 400 }
  }
  hub          = { units = 4, max_units = 20, ip_rules = ["192.0.2.0/24"] }
  hub_subnets  = { cloud-green = { id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v/subnets/nodes" } }
  alert_emails = { duty = "duty@example.com" }
  waf          = { unlimited = ["198.51.100.7"] }
}

run "frontdoor" {
  command = plan

  assert {
    # flip frontdoor.tf | sku_name = "Premium_AzureFrontDoor" | sku_name = "Standard_AzureFrontDoor" | 1
    condition     = azurerm_cdn_frontdoor_profile.this[0].sku_name == "Premium_AzureFrontDoor"
    error_message = "the front door is Premium"
  }

  assert {
    # flip frontdoor.tf | response_timeout_seconds = 60 | response_timeout_seconds = 16
    condition     = azurerm_cdn_frontdoor_profile.this[0].response_timeout_seconds == 60
    error_message = "the front door waits longer than a gateway takes"
  }

  assert {
    # flip variables.tf | default = 30 | default = 50 | 2
    # flip frontdoor.tf | additional_latency_in_milliseconds = var.latency_sensitivity_ms | additional_latency_in_milliseconds = 50
    condition     = azurerm_cdn_frontdoor_origin_group.gateways.load_balancing[0].additional_latency_in_milliseconds == 30
    error_message = "latency sensitivity is 30 ms"
  }

  assert {
    # flip frontdoor.tf | session_affinity_enabled = false | session_affinity_enabled = true
    condition     = azurerm_cdn_frontdoor_origin_group.gateways.session_affinity_enabled == false
    error_message = "no session affinity"
  }

  assert {
    # flip variables.tf | path = optional(string, "/healthz") | path = optional(string, "/")
    # flip frontdoor.tf | path = var.probe.path | path = "/"
    condition     = azurerm_cdn_frontdoor_origin_group.gateways.health_probe[0].path == "/healthz"
    error_message = "probes ask for /healthz"
  }

  assert {
    # flip variables.tf | interval_seconds = optional(number, 5) | interval_seconds = optional(number, 100)
    # flip frontdoor.tf | interval_in_seconds = var.probe.interval_seconds | interval_in_seconds = 100
    condition     = azurerm_cdn_frontdoor_origin_group.gateways.health_probe[0].interval_in_seconds == 5
    error_message = "probes come every five seconds"
  }

  assert {
    # flip frontdoor.tf | protocol = "Https" | protocol = "Http"
    condition     = azurerm_cdn_frontdoor_origin_group.gateways.health_probe[0].protocol == "Https"
    error_message = "probes use TLS"
  }

  assert {
    # flip frontdoor.tf | request_type = "HEAD" | request_type = "GET"
    condition     = azurerm_cdn_frontdoor_origin_group.gateways.health_probe[0].request_type == "HEAD"
    error_message = "probes ask for no body"
  }

  assert {
    # flip variables.tf | samples = optional(number, 4) | samples = optional(number, 40)
    # flip frontdoor.tf | sample_size = var.probe.samples | sample_size = 8
    condition     = azurerm_cdn_frontdoor_origin_group.gateways.load_balancing[0].sample_size == 4
    error_message = "four probes are looked at"
  }

  assert {
    # flip variables.tf | passing = optional(number, 3) | passing = optional(number, 1)
    # flip frontdoor.tf | successful_samples_required = var.probe.passing | successful_samples_required = 1
    condition     = azurerm_cdn_frontdoor_origin_group.gateways.load_balancing[0].successful_samples_required == 3
    error_message = "three probes must pass"
  }

  assert {
    # flip frontdoor.tf | for_each = var.origins | for_each = { for k, v in var.origins : k => v if k != "cloud-blue" }
    condition     = length(azurerm_cdn_frontdoor_origin.stamp) == 2
    error_message = "both cloud stamps are origins"
  }

  assert {
    # flip frontdoor.tf | priority = each.value.priority | priority = 1
    condition     = azurerm_cdn_frontdoor_origin.stamp["cloud-green"].priority == 1 && azurerm_cdn_frontdoor_origin.stamp["cloud-blue"].priority == 2
    error_message = "priorities are those that are asked for"
  }

  assert {
    # flip frontdoor.tf | weight = each.value.weight | weight = 500
    condition     = azurerm_cdn_frontdoor_origin.stamp["cloud-green"].weight == 500 && azurerm_cdn_frontdoor_origin.stamp["cloud-blue"].weight == 400
    error_message = "weights are those that are asked for"
  }

  assert {
    # flip frontdoor.tf | certificate_name_check_enabled = true | certificate_name_check_enabled = false
    condition     = alltrue([for o in azurerm_cdn_frontdoor_origin.stamp : o.certificate_name_check_enabled])
    error_message = "certificates of origins are checked"
  }

  assert {
    # flip frontdoor.tf | host_name = each.value.host_name | host_name = "example.com"
    # flip frontdoor.tf | origin_host_header = each.value.host_name | origin_host_header = "example.com"
    # flip frontdoor.tf | https_port = 443 | https_port = 8443
    condition     = alltrue([for k, o in azurerm_cdn_frontdoor_origin.stamp : "cloud-${o.host_name}" == "${k}.example.com" && o.origin_host_header == o.host_name && o.https_port == 443])
    error_message = "origins are asked by their own name"
  }

  assert {
    # flip frontdoor.tf | [] : [each.value.private_link] | [] : []
    # flip frontdoor.tf | private_link_target_id = private_link.value.service_id | private_link_target_id = replace(private_link.value.service_id, "/green", "/other")
    condition     = [for l in azurerm_cdn_frontdoor_origin.stamp["cloud-green"].private_link : "${l.location} ${basename(l.private_link_target_id)}"] == ["eastus2 green"]
    error_message = "the origin is reached through Private Link"
  }

  assert {
    # flip frontdoor.tf | forwarding_protocol = "HttpsOnly" | forwarding_protocol = "MatchRequest"
    condition     = azurerm_cdn_frontdoor_route.gateways.forwarding_protocol == "HttpsOnly"
    error_message = "origins are reached by TLS alone"
  }

  assert {
    # flip frontdoor.tf | supported_protocols = ["Https"] | supported_protocols = ["Http", "Https"]
    condition     = tolist(azurerm_cdn_frontdoor_route.gateways.supported_protocols) == tolist(["Https"])
    error_message = "nothing is taken in clear"
  }

  assert {
    # flip frontdoor.tf | patterns_to_match = ["/*"] | patterns_to_match = ["/v1/*"] | 1
    condition     = azurerm_cdn_frontdoor_route.gateways.patterns_to_match == tolist(["/*"])
    error_message = "every path leads to the stamps"
  }

  assert {
    # flip frontdoor.tf | restore_traffic_time_to_healed_or_new_endpoint_in_minutes = 0 | restore_traffic_time_to_healed_or_new_endpoint_in_minutes = 50
    condition     = azurerm_cdn_frontdoor_origin_group.gateways.restore_traffic_time_to_healed_or_new_endpoint_in_minutes == 0
    error_message = "a stamp that is back gets requests at once"
  }

  assert {
    # flip frontdoor.tf | link_to_default_domain = true | link_to_default_domain = true\ncache {\nquery_string_caching_behavior = "UseQueryString"\n}
    condition     = length(azurerm_cdn_frontdoor_route.gateways.cache) == 0
    error_message = "nothing is cached"
  }

  assert {
    # flip frontdoor.tf | enabled = true | enabled = false | 1
    # flip frontdoor.tf | enabled = each.value.enabled | enabled = false
    # flip frontdoor.tf | enabled = true | enabled = false | 2
    condition     = azurerm_cdn_frontdoor_endpoint.this.enabled && alltrue([for o in azurerm_cdn_frontdoor_origin.stamp : o.enabled]) && azurerm_cdn_frontdoor_route.gateways.enabled
    error_message = "endpoint, origins and route are on"
  }
}

run "firewall" {
  command = plan

  assert {
    # flip variables.tf | mode = optional(string, "Prevention") | mode = optional(string, "Detection")
    # flip frontdoor.tf | mode = var.waf.mode | mode = "Detection"
    condition     = azurerm_cdn_frontdoor_firewall_policy.this.mode == "Prevention"
    error_message = "the firewall refuses"
  }

  assert {
    # flip frontdoor.tf | enabled = true | enabled = false | 3
    # flip frontdoor.tf | enabled = true | enabled = false | 4
    condition     = azurerm_cdn_frontdoor_firewall_policy.this.enabled && alltrue([for r in azurerm_cdn_frontdoor_firewall_policy.this.custom_rule : r.enabled])
    error_message = "the firewall and its rule are on"
  }

  assert {
    # flip frontdoor.tf | sku_name = "Premium_AzureFrontDoor" | sku_name = "Standard_AzureFrontDoor" | 2
    condition     = azurerm_cdn_frontdoor_firewall_policy.this.sku_name == "Premium_AzureFrontDoor"
    error_message = "the firewall is Premium, without which it has no managed rules"
  }

  assert {
    # flip frontdoor.tf | type = "Microsoft_DefaultRuleSet" | type = "DefaultRuleSet"
    # flip frontdoor.tf | action = "Block" | action = "Log" | 1
    # flip frontdoor.tf | version = "2.1" | version = "1.1"
    condition     = [for r in azurerm_cdn_frontdoor_firewall_policy.this.managed_rule : "${r.version} ${r.action}" if r.type == "Microsoft_DefaultRuleSet"] == ["2.1 Block"]
    error_message = "the default rule set refuses"
  }

  assert {
    # flip frontdoor.tf | action = "Block" | action = "Log" | 2
    # flip frontdoor.tf | version = "1.1" | version = "1.0"
    condition     = [for r in azurerm_cdn_frontdoor_firewall_policy.this.managed_rule : "${r.version} ${r.action}" if r.type == "Microsoft_BotManagerRuleSet"] == ["1.1 Block"]
    error_message = "bad bots are refused"
  }

  assert {
    # flip variables.tf | inspect_bodies = optional(bool, false) | inspect_bodies = optional(bool, true)
    # flip frontdoor.tf | request_body_check_enabled = var.waf.inspect_bodies | request_body_check_enabled = true
    condition     = azurerm_cdn_frontdoor_firewall_policy.this.request_body_check_enabled == false
    error_message = "messages are not looked into"
  }

  assert {
    # flip frontdoor.tf | type = "RateLimitRule" | type = "MatchRule"
    # flip frontdoor.tf | rate_limit_threshold = var.waf.rate_limit | rate_limit_threshold = 10
    # flip frontdoor.tf | action = "Block" | action = "Log" | 3
    # flip frontdoor.tf | rate_limit_duration_in_minutes = 1 | rate_limit_duration_in_minutes = 5
    # flip variables.tf | rate_limit = optional(number, 30000) | rate_limit = optional(number, 300)
    condition     = [for r in azurerm_cdn_frontdoor_firewall_policy.this.custom_rule : "${r.rate_limit_threshold} in ${r.rate_limit_duration_in_minutes}" if r.type == "RateLimitRule" && r.action == "Block"] == ["30000 in 1"]
    error_message = "one address has a rate"
  }

  assert {
    # flip frontdoor.tf | match_variable = "SocketAddr" | match_variable = "RemoteAddr" | 1
    # flip frontdoor.tf | match_variable = "SocketAddr" | match_variable = "RemoteAddr" | 2
    # flip frontdoor.tf | ["0.0.0.0/0", "::/0"] | ["0.0.0.0/0"]
    # flip frontdoor.tf | negation_condition = false | negation_condition = true
    # flip frontdoor.tf | for_each = length(var.waf.unlimited) > 0 ? [1] : [] | for_each = []
    # flip frontdoor.tf | match_values = var.waf.unlimited | match_values = ["192.0.2.0/24"]
    # flip frontdoor.tf | negation_condition = true | negation_condition = false
    condition     = [for c in azurerm_cdn_frontdoor_firewall_policy.this.custom_rule[0].match_condition : "${c.match_variable} ${c.negation_condition} ${join(" ", c.match_values)}"] == ["SocketAddr false 0.0.0.0/0 ::/0", "SocketAddr true 198.51.100.7"]
    error_message = "the rate is that of every address that connects but for sites, whatever it says of itself"
  }

  assert {
    # flip frontdoor.tf | request_body_check_enabled = var.waf.inspect_bodies | request_body_check_enabled = var.waf.inspect_bodies\n custom_block_response_status_code = 429
    condition     = coalesce(azurerm_cdn_frontdoor_firewall_policy.this.custom_block_response_status_code, 0) == 0
    error_message = "what looks like an attack is not told to try again"
  }

  assert {
    # flip frontdoor.tf | "key" = { in = | "other" = { in =
    # flip frontdoor.tf | "ce-" = { in = | "other" = { in =
    # flip frontdoor.tf | in = "QueryStringArgNames" | in = "RequestCookieNames"
    # flip frontdoor.tf | operator = "StartsWith" | operator = "Equals"
    # flip frontdoor.tf | selector = exclusion.key | selector = "other"
    # flip frontdoor.tf | operator = exclusion.value.operator | operator = "Equals"
    condition     = sort(flatten([for r in azurerm_cdn_frontdoor_firewall_policy.this.managed_rule : [for e in r.exclusion : "${e.match_variable} ${e.operator} ${e.selector}"]])) == tolist(["QueryStringArgNames Equals key", "RequestHeaderNames Equals Authorization", "RequestHeaderNames Equals Idempotency-Key", "RequestHeaderNames Equals Postroad-Key", "RequestHeaderNames StartsWith ce-"])
    error_message = "keys and attributes of messages are not looked into"
  }

  assert {
    # flip frontdoor.tf | cdn_frontdoor_domain_id = azurerm_cdn_frontdoor_endpoint.this.id | cdn_frontdoor_domain_id = replace(azurerm_cdn_frontdoor_endpoint.this.id, "/made", "/other")
    # flip frontdoor.tf | cdn_frontdoor_firewall_policy_id = azurerm_cdn_frontdoor_firewall_policy.this.id | cdn_frontdoor_firewall_policy_id = replace(azurerm_cdn_frontdoor_firewall_policy.this.id, "/made", "/other")
    condition     = azurerm_cdn_frontdoor_security_policy.this.security_policies[0].firewall[0].cdn_frontdoor_firewall_policy_id == azurerm_cdn_frontdoor_firewall_policy.this.id && azurerm_cdn_frontdoor_security_policy.this.security_policies[0].firewall[0].association[0].domain[0].cdn_frontdoor_domain_id == azurerm_cdn_frontdoor_endpoint.this.id
    error_message = "it is that firewall that stands before that endpoint"
  }
}

# flip frontdoor.tf | self.sku_name == "Premium_AzureFrontDoor" | self.sku_name != ""
run "existing_frontdoor_is_premium" {
  command = plan

  variables {
    existing_frontdoor_profile_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/theirs/providers/Microsoft.Cdn/profiles/theirs"
  }

  override_data {
    target = data.azurerm_cdn_frontdoor_profile.existing
    values = {
      sku_name = "Standard_AzureFrontDoor"
    }
  }

  expect_failures = [data.azurerm_cdn_frontdoor_profile.existing]
}

run "domain" {
  command = plan

  variables {
    domain = "post.example.com"
  }

  assert {
    # flip frontdoor.tf | azurerm_cdn_frontdoor_custom_domain.this[*].id | []
    # flip frontdoor.tf | host_name = var.domain | host_name = "other.example.com"
    condition     = length(azurerm_cdn_frontdoor_route.gateways.cdn_frontdoor_custom_domain_ids) == 1 && azurerm_cdn_frontdoor_custom_domain.this[0].host_name == "post.example.com"
    error_message = "requests to one's own name reach the stamps"
  }

  assert {
    # flip frontdoor.tf | for_each = azurerm_cdn_frontdoor_custom_domain.this | for_each = []
    condition     = length(azurerm_cdn_frontdoor_security_policy.this.security_policies[0].firewall[0].association[0].domain) == 2
    error_message = "the firewall stands before one's own name, too"
  }

  assert {
    # flip outputs.tf | var.domain != null ? var.domain : | var.domain == null ? "" :
    condition     = output.address == "https://post.example.com"
    error_message = "the one address is one's own"
  }
}
