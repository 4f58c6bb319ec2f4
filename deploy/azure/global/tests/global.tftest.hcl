# One assertion for each property. The line "# flip FILE | WAS | IS" above or in an
# assertion is a change of the code that has to make it fail, and is made by
# test/azure. What the service does with all this is not tested here.

mock_provider "azurerm" {}

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
    condition     = azurerm_cdn_frontdoor_origin_group.gateways.health_probe[0].path == "/healthz"
    error_message = "probes ask for /healthz"
  }

  assert {
    # flip variables.tf | interval_seconds = optional(number, 5) | interval_seconds = optional(number, 100)
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
    condition     = azurerm_cdn_frontdoor_origin_group.gateways.load_balancing[0].sample_size == 4
    error_message = "four probes are looked at"
  }

  assert {
    # flip variables.tf | passing = optional(number, 3) | passing = optional(number, 1)
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
    # flip frontdoor.tf | origin_host_header = each.value.host_name | origin_host_header = "example.com"
    condition     = azurerm_cdn_frontdoor_origin.stamp["cloud-green"].origin_host_header == "green.example.com"
    error_message = "origins are asked by their own name"
  }

  assert {
    # flip frontdoor.tf | [] : [each.value.private_link] | [] : []
    condition     = [for l in azurerm_cdn_frontdoor_origin.stamp["cloud-green"].private_link : l.location] == ["eastus2"]
    error_message = "the origin is reached through Private Link"
  }

  assert {
    # flip frontdoor.tf | forwarding_protocol = "HttpsOnly" | forwarding_protocol = "MatchRequest"
    condition     = azurerm_cdn_frontdoor_route.gateways.forwarding_protocol == "HttpsOnly"
    error_message = "origins are reached by TLS alone"
  }

  assert {
    # flip frontdoor.tf | https_redirect_enabled = true | https_redirect_enabled = false
    condition     = azurerm_cdn_frontdoor_route.gateways.https_redirect_enabled
    error_message = "plain HTTP is redirected"
  }

  assert {
    # flip frontdoor.tf | link_to_default_domain = true | link_to_default_domain = true\ncache {\nquery_string_caching_behavior = "UseQueryString"\n}
    condition     = length(azurerm_cdn_frontdoor_route.gateways.cache) == 0
    error_message = "nothing is cached"
  }
}

run "firewall" {
  command = plan

  assert {
    # flip variables.tf | mode = optional(string, "Prevention") | mode = optional(string, "Detection")
    condition     = azurerm_cdn_frontdoor_firewall_policy.this.mode == "Prevention"
    error_message = "the firewall refuses"
  }

  assert {
    # flip frontdoor.tf | sku_name = "Premium_AzureFrontDoor" | sku_name = "Standard_AzureFrontDoor" | 2
    condition     = azurerm_cdn_frontdoor_firewall_policy.this.sku_name == "Premium_AzureFrontDoor"
    error_message = "the firewall is Premium, without which it has no managed rules"
  }

  assert {
    # flip frontdoor.tf | type = "Microsoft_DefaultRuleSet" | type = "DefaultRuleSet"
    # flip frontdoor.tf | action = "Block" | action = "Log" | 1
    condition     = length([for r in azurerm_cdn_frontdoor_firewall_policy.this.managed_rule : r if r.type == "Microsoft_DefaultRuleSet" && r.action == "Block"]) == 1
    error_message = "the default rule set refuses"
  }

  assert {
    # flip frontdoor.tf | action = "Block" | action = "Log" | 2
    condition     = length([for r in azurerm_cdn_frontdoor_firewall_policy.this.managed_rule : r if r.type == "Microsoft_BotManagerRuleSet" && r.action == "Block"]) == 1
    error_message = "bad bots are refused"
  }

  assert {
    # flip variables.tf | inspect_bodies = optional(bool, false) | inspect_bodies = optional(bool, true)
    condition     = azurerm_cdn_frontdoor_firewall_policy.this.request_body_check_enabled == false
    error_message = "messages are not looked into"
  }

  assert {
    # flip frontdoor.tf | type = "RateLimitRule" | type = "MatchRule"
    # flip frontdoor.tf | rate_limit_threshold = var.waf.rate_limit | rate_limit_threshold = 10
    condition     = one([for r in azurerm_cdn_frontdoor_firewall_policy.this.custom_rule : r.rate_limit_threshold if r.type == "RateLimitRule" && r.action == "Block"]) == 30000
    error_message = "one address has a rate"
  }

  assert {
    # flip frontdoor.tf | patterns_to_match = ["/*"] | patterns_to_match = ["/v1/*"] | 2
    condition     = azurerm_cdn_frontdoor_security_policy.this.security_policies[0].firewall[0].association[0].patterns_to_match[0] == "/*"
    error_message = "the firewall stands before every path"
  }
}

run "registry" {
  command = plan

  assert {
    # flip registry.tf | sku = "Premium" | sku = "Standard"
    condition     = azurerm_container_registry.this[0].sku == "Premium"
    error_message = "the registry is Premium"
  }

  assert {
    # flip registry.tf | admin_enabled = false | admin_enabled = true
    condition     = azurerm_container_registry.this[0].admin_enabled == false
    error_message = "the registry has no admin user"
  }

  assert {
    # flip registry.tf | anonymous_pull_enabled = false | anonymous_pull_enabled = true
    condition     = azurerm_container_registry.this[0].anonymous_pull_enabled == false
    error_message = "nobody pulls without an identity"
  }

  assert {
    # flip registry.tf | zone_redundancy_enabled = true | zone_redundancy_enabled = false | 1
    condition     = azurerm_container_registry.this[0].zone_redundancy_enabled
    error_message = "the registry is zone-redundant"
  }

  assert {
    # flip registry.tf | data_endpoint_enabled = true | data_endpoint_enabled = false
    condition     = azurerm_container_registry.this[0].data_endpoint_enabled
    error_message = "the registry has data endpoints of its own"
  }

  assert {
    # flip registry.tf | sort([for l in var.replica_locations : l]) | []
    condition     = [for g in azurerm_container_registry.this[0].georeplications : g.location] == ["centralus"]
    error_message = "the registry is replicated to the other region"
  }

  assert {
    # flip registry.tf | zone_redundancy_enabled = true | zone_redundancy_enabled = false | 2
    condition     = alltrue([for g in azurerm_container_registry.this[0].georeplications : g.zone_redundancy_enabled])
    error_message = "replicas are zone-redundant"
  }

  assert {
    # flip registry.tf | global_endpoint_routing_enabled = true | global_endpoint_routing_enabled = false
    condition     = alltrue([for g in azurerm_container_registry.this[0].georeplications : g.global_endpoint_routing_enabled])
    error_message = "replicas answer under the one name"
  }
}

run "hub" {
  command = plan

  assert {
    # flip variables.tf | sku = optional(string, "Standard") | sku = optional(string, "Premium")
    condition     = azurerm_eventhub_namespace.this[0].sku == "Standard"
    error_message = "the hub is Standard unless asked otherwise"
  }

  assert {
    # flip hub.tf | capacity = var.hub.units | capacity = 1
    condition     = azurerm_eventhub_namespace.this[0].capacity == 4
    error_message = "throughput units are those that are asked for"
  }

  assert {
    # flip hub.tf | auto_inflate_enabled = var.hub.sku == "Standard" | auto_inflate_enabled = false
    # flip hub.tf | var.hub.max_units : null | 5 : null
    condition     = azurerm_eventhub_namespace.this[0].auto_inflate_enabled && azurerm_eventhub_namespace.this[0].maximum_throughput_units == 20
    error_message = "throughput units grow by themselves"
  }

  assert {
    # flip hub.tf | default_action = "Deny" | default_action = "Allow"
    condition     = azurerm_eventhub_namespace.this[0].network_rulesets[0].default_action == "Deny"
    error_message = "the hub is closed to addresses that are not named"
  }

  assert {
    # flip hub.tf | for_each = var.hub.ip_rules | for_each = []
    condition     = [for r in azurerm_eventhub_namespace.this[0].network_rulesets[0].ip_rule : r.ip_mask] == ["192.0.2.0/24"]
    error_message = "sites reach the hub"
  }

  assert {
    # flip hub.tf | for_each = var.hub_subnets | for_each = {}
    condition     = length(azurerm_eventhub_namespace.this[0].network_rulesets[0].virtual_network_rule) == 1
    error_message = "stamps reach the hub"
  }

  assert {
    # flip variables.tf | partitions = optional(number, 8) | partitions = optional(number, 1)
    condition     = azurerm_eventhub.this["messages"].partition_count == 8
    error_message = "an event hub has eight partitions"
  }

  assert {
    # flip variables.tf | retention_hours = optional(number, 168) | retention_hours = optional(number, 1)
    condition     = azurerm_eventhub.this["messages"].retention_description[0].retention_time_in_hours == 168
    error_message = "messages are kept for a week"
  }

  assert {
    # flip hub.tf | cleanup_policy = "Delete" | cleanup_policy = "Compact"
    condition     = azurerm_eventhub.this["messages"].retention_description[0].cleanup_policy == "Delete"
    error_message = "event hubs are not compacted"
  }

  assert {
    # flip hub.tf | manage = false | manage = true | 1
    # flip hub.tf | send = true | send = false
    # flip hub.tf | listen = true | listen = false | 1
    condition     = azurerm_eventhub_authorization_rule.forward["messages"].send && azurerm_eventhub_authorization_rule.forward["messages"].listen && !azurerm_eventhub_authorization_rule.forward["messages"].manage
    error_message = "forwarders send and listen, and manage nothing"
  }

  assert {
    # flip hub.tf | send = false | send = true
    # flip hub.tf | manage = false | manage = true | 2
    condition     = azurerm_eventhub_authorization_rule.stream["messages"].listen && !azurerm_eventhub_authorization_rule.stream["messages"].send && !azurerm_eventhub_authorization_rule.stream["messages"].manage
    error_message = "stream nodes only listen"
  }
}

run "hub_without_connection_strings" {
  command = plan

  variables {
    hub = { connection_strings = false }
  }

  assert {
    # flip hub.tf | local_authentication_enabled = var.hub.connection_strings | local_authentication_enabled = true
    condition     = azurerm_eventhub_namespace.this[0].local_authentication_enabled == false
    error_message = "only Entra ID counts where connection strings are off"
  }

  assert {
    # flip hub.tf | for_each = var.hub.connection_strings ? var.topics : {} | for_each = var.topics | 1
    # flip hub.tf | for_each = var.hub.connection_strings ? var.topics : {} | for_each = var.topics | 2
    condition     = length(azurerm_eventhub_authorization_rule.forward) + length(azurerm_eventhub_authorization_rule.stream) == 0
    error_message = "no rule is made where connection strings are off"
  }
}

run "seen" {
  command = plan

  assert {
    # flip main.tf | { registry = azurerm_container_registry.this[0].id } | {}
    # flip main.tf | { hub = azurerm_eventhub_namespace.this[0].id } | {}
    # flip main.tf | { frontdoor = azurerm_cdn_frontdoor_profile.this[0].id } | {}
    condition     = keys(azurerm_monitor_diagnostic_setting.this) == ["frontdoor", "hub", "registry"]
    error_message = "logs of front door, hub and registry are kept"
  }

  assert {
    # flip main.tf | category_group = "allLogs" | category_group = "audit"
    condition     = alltrue([for s in azurerm_monitor_diagnostic_setting.this : one(s.enabled_log).category_group == "allLogs"])
    error_message = "all logs are kept"
  }

  assert {
    # flip main.tf | category = "AllMetrics" | category = "Some"
    condition     = alltrue([for s in azurerm_monitor_diagnostic_setting.this : one(s.enabled_metric).category == "AllMetrics"])
    error_message = "all metrics are kept"
  }

  assert {
    # flip alerts.tf | metric_name = "OriginHealthPercentage" | metric_name = "RequestCount"
    # flip alerts.tf | threshold = 50 | threshold = 0
    condition     = one(azurerm_monitor_metric_alert.origin.criteria).metric_name == "OriginHealthPercentage" && one(azurerm_monitor_metric_alert.origin.criteria).threshold == 50
    error_message = "an unhealthy origin is told of"
  }

  assert {
    # flip alerts.tf | metric_name = "ThrottledRequests" | metric_name = "IncomingRequests"
    condition     = one(azurerm_monitor_metric_alert.throttled.criteria).metric_name == "ThrottledRequests"
    error_message = "a hub that throttles is told of"
  }

  assert {
    # flip alerts.tf | for_each = var.alert_emails | for_each = {}
    condition     = [for r in azurerm_monitor_action_group.this.email_receiver : r.email_address] == ["duty@example.com"]
    error_message = "somebody is told"
  }
}

# What is there already is taken as it is, and nothing of its kind is made.
run "existing" {
  command = plan

  variables {
    existing_resource_group_name  = "theirs"
    existing_registry_id          = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/theirs/providers/Microsoft.ContainerRegistry/registries/theirs"
    existing_hub_namespace_id     = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/theirs-hub/providers/Microsoft.EventHub/namespaces/theirs"
    existing_frontdoor_profile_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/theirs/providers/Microsoft.Cdn/profiles/theirs"
    existing_log_workspace_id     = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/theirs/providers/Microsoft.OperationalInsights/workspaces/theirs"
  }

  assert {
    # flip main.tf | count = var.existing_resource_group_name == null ? 1 : 0 | count = 1
    # flip main.tf | count = var.existing_log_workspace_id == null ? 1 : 0 | count = 1
    # flip registry.tf | count = var.existing_registry_id == null ? 1 : 0 | count = 1
    # flip hub.tf | count = var.existing_hub_namespace_id == null ? 1 : 0 | count = 1
    # flip frontdoor.tf | count = var.existing_frontdoor_profile_id == null ? 1 : 0 | count = 1
    condition     = length(azurerm_resource_group.this) + length(azurerm_log_analytics_workspace.this) + length(azurerm_container_registry.this) + length(azurerm_eventhub_namespace.this) + length(azurerm_cdn_frontdoor_profile.this) == 0
    error_message = "nothing is made that is there already"
  }

  assert {
    # flip hub.tf | namespace_id = local.hub_namespace_id | namespace_id = replace(local.hub_namespace_id, "/theirs", "/other")
    condition     = endswith(azurerm_eventhub.this["messages"].namespace_id, "/namespaces/theirs")
    error_message = "event hubs are made in the namespace that is there"
  }

  assert {
    # flip hub.tf | split("/", var.existing_hub_namespace_id)[4] | local.resource_group_name
    condition     = azurerm_eventhub_authorization_rule.forward["messages"].resource_group_name == "theirs-hub"
    error_message = "rules are made where the namespace is"
  }

  assert {
    # flip frontdoor.tf | ? var.existing_frontdoor_profile_id : azurerm_cdn_frontdoor_profile.this[0].id | ? replace(var.existing_frontdoor_profile_id, "theirs", "other") : azurerm_cdn_frontdoor_profile.this[0].id
    condition     = endswith(azurerm_cdn_frontdoor_endpoint.this.cdn_frontdoor_profile_id, "/profiles/theirs")
    error_message = "the endpoint is made in the profile that is there"
  }

  assert {
    # flip main.tf | ? var.existing_resource_group_name : azurerm_resource_group.this[0].name | ? "other" : azurerm_resource_group.this[0].name
    condition     = azurerm_cdn_frontdoor_firewall_policy.this.resource_group_name == "theirs"
    error_message = "what is made stands in the group that is there"
  }
}

# flip variables.tf | "canadacentral", | "canadacentral", "westus",
run "hub_only_where_there_are_zones" {
  command = plan

  variables {
    location = "westus"
  }

  expect_failures = [var.location]
}

# flip variables.tf | contains(["Standard", "Premium"], var.hub.sku) | contains(["Basic", "Standard", "Premium"], var.hub.sku)
run "hub_not_basic" {
  command = plan

  variables {
    hub = { sku = "Basic" }
  }

  expect_failures = [var.hub]
}
