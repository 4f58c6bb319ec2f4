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
    # flip hub.tf | sku = var.hub.sku | sku = "Premium"
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
    # flip hub.tf | minimum_tls_version = "1.2" | minimum_tls_version = null
    condition     = azurerm_eventhub_namespace.this[0].minimum_tls_version == "1.2"
    error_message = "the hub speaks TLS 1.2 or later"
  }

  assert {
    # flip hub.tf | [for r in var.hub.ip_rules : | [for r in [] :
    condition     = [for r in azurerm_eventhub_namespace.this[0].network_rulesets[0].ip_rule : r.ip_mask] == ["192.0.2.0/24"]
    error_message = "sites reach the hub"
  }

  assert {
    # flip hub.tf | [for s in var.hub_subnets : | [for s in {} :
    # flip hub.tf | subnet_id = s.id | subnet_id = replace(s.id, "/nodes", "/other")
    condition     = [for r in azurerm_eventhub_namespace.this[0].network_rulesets[0].virtual_network_rule : basename(r.subnet_id)] == ["nodes"]
    error_message = "stamps reach the hub"
  }

  assert {
    # flip variables.tf | partitions = optional(number, 8) | partitions = optional(number, 1)
    # flip hub.tf | partition_count = each.value.partitions | partition_count = 1
    condition     = azurerm_eventhub.this["messages"].partition_count == 8
    error_message = "an event hub has eight partitions"
  }

  assert {
    # flip variables.tf | retention_hours = optional(number, 168) | retention_hours = optional(number, 1)
    # flip hub.tf | retention_time_in_hours = each.value.retention_hours | retention_time_in_hours = 1
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
    # flip hub.tf | listen = true | listen = false | 2
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
    # flip alerts.tf | threshold = 90 | threshold = 0
    # flip alerts.tf | operator = "LessThan" | operator = "GreaterThan" | 1
    # flip alerts.tf | metric_namespace = "Microsoft.Cdn/profiles" | metric_namespace = "Microsoft.Network/frontdoors"
    # flip alerts.tf | aggregation = "Average" | aggregation = "Maximum"
    condition     = [for c in azurerm_monitor_metric_alert.origin.criteria : "${c.aggregation} ${c.metric_namespace} ${c.metric_name} ${c.operator} ${c.threshold}"] == ["Average Microsoft.Cdn/profiles OriginHealthPercentage LessThan 90"]
    error_message = "an unhealthy origin is told of"
  }

  assert {
    # flip alerts.tf | metric_name = "ThrottledRequests" | metric_name = "IncomingRequests"
    # flip alerts.tf | operator = "GreaterThan" | operator = "LessThan" | 2
    # flip alerts.tf | metric_namespace = "Microsoft.EventHub/namespaces" | metric_namespace = "Microsoft.EventHub/clusters" | 2
    # flip alerts.tf | aggregation = "Total" | aggregation = "Minimum" | 2
    # flip alerts.tf | threshold = 0 | threshold = 1000 | 2
    condition     = [for c in azurerm_monitor_metric_alert.throttled.criteria : "${c.aggregation} ${c.metric_namespace} ${c.metric_name} ${c.operator} ${c.threshold}"] == ["Total Microsoft.EventHub/namespaces ThrottledRequests GreaterThan 0"]
    error_message = "a hub that throttles is told of"
  }

  assert {
    # flip alerts.tf | for_each = var.alert_emails | for_each = {}
    condition     = [for r in azurerm_monitor_action_group.this.email_receiver : r.email_address] == ["duty@example.com"]
    error_message = "somebody is told"
  }

  assert {
    # flip main.tf | target_resource_id = each.value | target_resource_id = local.registry_id
    # flip main.tf | log_analytics_workspace_id = local.log_workspace_id | log_analytics_workspace_id = replace(local.log_workspace_id, "/made", "/other")
    condition     = [for k, s in azurerm_monitor_diagnostic_setting.this : "${k} ${basename(dirname(s.target_resource_id))} ${basename(dirname(s.log_analytics_workspace_id))}"] == ["frontdoor profiles workspaces", "hub namespaces workspaces", "registry registries workspaces"] && alltrue([for s in azurerm_monitor_diagnostic_setting.this : endswith(s.log_analytics_workspace_id, "/made")])
    error_message = "each resource's own logs go to the workspace"
  }

  assert {
    # flip alerts.tf | scopes = [local.frontdoor_profile_id] | scopes = [local.hub_namespace_id]
    # flip alerts.tf | scopes = [local.hub_namespace_id] | scopes = [local.frontdoor_profile_id] | 2
    # flip alerts.tf | action_group_id = azurerm_monitor_action_group.this.id | action_group_id = replace(azurerm_monitor_action_group.this.id, "/made", "/other") | 1
    # flip alerts.tf | action_group_id = azurerm_monitor_action_group.this.id | action_group_id = replace(azurerm_monitor_action_group.this.id, "/made", "/other") | 3
    condition     = [for a in [azurerm_monitor_metric_alert.origin, azurerm_monitor_metric_alert.throttled] : "${basename(dirname(one(a.scopes)))} ${basename(one(a.action).action_group_id)}"] == ["profiles made", "namespaces made"]
    error_message = "alerts look at front door and hub, and reach somebody"
  }

  assert {
    # flip alerts.tf | metric = "ServerErrors" | metric = "UserErrors"
    # flip alerts.tf | metric = "IncomingMessages" | metric = "OutgoingMessages"
    # flip alerts.tf | operator = "LessThan", threshold = 1 | operator = "GreaterThan", threshold = 1
    # flip alerts.tf | threshold = each.value.threshold | threshold = 100
    # flip alerts.tf | operator = each.value.operator | operator = "GreaterThan"
    # flip alerts.tf | metric_name = each.value.metric | metric_name = "ServerErrors"
    # flip variables.tf | default = true | default = false
    # flip alerts.tf | scopes = [local.hub_namespace_id] | scopes = [local.frontdoor_profile_id] | 1
    # flip alerts.tf | action_group_id = azurerm_monitor_action_group.this.id | action_group_id = replace(azurerm_monitor_action_group.this.id, "/made", "/other") | 2
    condition     = [for k, a in azurerm_monitor_metric_alert.hub : "${k} ${one(a.criteria).metric_name} ${one(a.criteria).operator} ${one(a.criteria).threshold} ${basename(dirname(one(a.scopes)))} ${basename(one(a.action).action_group_id)}"] == ["fails ServerErrors GreaterThan 0 namespaces made", "silent IncomingMessages LessThan 1 namespaces made"]
    error_message = "a hub that fails, or takes nothing, is told of"
  }
}

# What is there already is taken as it is, and nothing of its kind is made.
run "existing" {
  command = plan

  variables {
    existing_resource_group_id    = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/theirs"
    existing_registry_id          = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/theirs/providers/Microsoft.ContainerRegistry/registries/theirs"
    existing_hub_namespace_id     = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/theirs-hub/providers/Microsoft.EventHub/namespaces/theirs"
    existing_frontdoor_profile_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/theirs/providers/Microsoft.Cdn/profiles/theirs"
    existing_log_workspace_id     = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/theirs/providers/Microsoft.OperationalInsights/workspaces/theirs"
  }

  assert {
    # flip main.tf | count = var.existing_resource_group_id == null ? 1 : 0 | count = 1
    # flip main.tf | count = var.existing_log_workspace_id == null ? 1 : 0 | count = 1
    # flip registry.tf | count = var.existing_registry_id == null ? 1 : 0 | count = 1
    # flip hub.tf | count = var.existing_hub_namespace_id == null ? 1 : 0 | count = 1
    # flip frontdoor.tf | count = var.existing_frontdoor_profile_id == null ? 1 : 0 | count = 1
    condition     = length(azurerm_resource_group.this) + length(azurerm_log_analytics_workspace.this) + length(azurerm_container_registry.this) + length(azurerm_eventhub_namespace.this) + length(azurerm_cdn_frontdoor_profile.this) == 0
    error_message = "nothing is made that is there already"
  }

  assert {
    # flip hub.tf | namespace_id = local.hub_namespace_id | namespace_id = replace(local.hub_namespace_id, "/theirs", "/other")
    # flip hub.tf | namespace_name = local.hub_namespace | namespace_name = "otherhub" | 1
    # flip hub.tf | namespace_name = local.hub_namespace | namespace_name = "otherhub" | 2
    condition     = endswith(azurerm_eventhub.this["messages"].namespace_id, "/namespaces/theirs") && azurerm_eventhub_authorization_rule.forward["messages"].namespace_name == "theirs" && azurerm_eventhub_authorization_rule.stream["messages"].namespace_name == "theirs"
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
    # flip outputs.tf | data.azurerm_cdn_frontdoor_profile.existing[0].resource_guid | ""
    # flip frontdoor.tf | name = split("/", var.existing_frontdoor_profile_id)[8] | name = split("/", var.existing_frontdoor_profile_id)[7]
    # flip frontdoor.tf | resource_group_name = split("/", var.existing_frontdoor_profile_id)[4] | resource_group_name = "other"
    condition     = output.frontdoor_id == "00000000-0000-0000-0000-0000000000fd" && data.azurerm_cdn_frontdoor_profile.existing[0].name == "theirs" && data.azurerm_cdn_frontdoor_profile.existing[0].resource_group_name == "theirs"
    error_message = "stamps know the front door that is there"
  }

  assert {
    # flip outputs.tf | data.azurerm_container_registry.existing[0].login_server | ""
    # flip registry.tf | name = split("/", var.existing_registry_id)[8] | name = split("/", var.existing_registry_id)[7]
    # flip registry.tf | resource_group_name = split("/", var.existing_registry_id)[4] | resource_group_name = "other"
    condition     = output.registry_server == "theirs.example.com" && data.azurerm_container_registry.existing[0].name == "theirs" && data.azurerm_container_registry.existing[0].resource_group_name == "theirs"
    error_message = "the registry that is there has a name"
  }

  assert {
    # flip main.tf | ? split("/", var.existing_resource_group_id)[4] : azurerm_resource_group.this[0].name | ? "other" : azurerm_resource_group.this[0].name
    condition     = azurerm_cdn_frontdoor_firewall_policy.this.resource_group_name == "theirs"
    error_message = "what is made stands in the group that is there"
  }
}

run "existing_topic" {
  command = plan

  variables {
    existing_hub_namespace_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/theirs-hub/providers/Microsoft.EventHub/namespaces/theirs"
    topics                    = { messages = { existing = true } }
  }

  assert {
    # flip hub.tf | for name, t in var.topics : name => t if !t.existing | for name, t in var.topics : name => t
    condition     = length(azurerm_eventhub.this) == 0
    error_message = "an event hub that is there is not made"
  }

  assert {
    # flip hub.tf | "${local.hub_namespace_id}/eventhubs/${name}" | local.hub_namespace_id
    condition     = endswith(output.hub.topic_ids["messages"], "/namespaces/theirs/eventhubs/messages")
    error_message = "stamps use the event hub that is there"
  }

  assert {
    # flip hub.tf | name => t.existing ? name : azurerm_eventhub.this[name].name | name => t.existing ? "other" : azurerm_eventhub.this[name].name
    condition     = azurerm_eventhub_authorization_rule.stream["messages"].eventhub_name == "messages" && azurerm_eventhub_authorization_rule.forward["messages"].eventhub_name == "messages"
    error_message = "rules are made for the event hub that is there"
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

run "sites" {
  command = plan

  variables {
    site_registry_tokens = ["onprem"]
  }

  assert {
    # flip registry.tf | "repositories/postroad/metadata/read" | "repositories/postroad/content/write"
    condition     = toset(azurerm_container_registry_scope_map.pull[0].actions) == toset(["repositories/postroad/content/read", "repositories/postroad/metadata/read"])
    error_message = "a site reads one repository, and writes none"
  }

  assert {
    # flip registry.tf | for_each = var.site_registry_tokens | for_each = toset([])
    # flip registry.tf | enabled = true | enabled = false
    condition     = [for k, t in azurerm_container_registry_token.site : t.enabled ? k : ""] == ["onprem"]
    error_message = "a site has a token of its own"
  }
}

run "workflows" {
  command = plan

  variables {
    workflows = { repository = "example/postroad", stamps = ["cloud-blue", "cloud-green"] }
  }

  assert {
    # flip workflows.tf | subject = "repo:${var.workflows.repository}:environment:${each.key}" | subject = "repo:${var.workflows.repository}:ref:refs/heads/main"
    condition     = [for c in azurerm_federated_identity_credential.workflow : c.subject] == ["repo:example/postroad:environment:cloud-blue", "repo:example/postroad:environment:cloud-green", "repo:example/postroad:environment:release"]
    error_message = "an identity is of one environment"
  }

  assert {
    # flip workflows.tf | audience = ["api://AzureADTokenExchange"] | audience = ["api://other"]
    # flip workflows.tf | issuer = var.workflows.issuer | issuer = "https://other.example.com"
    condition     = alltrue([for c in azurerm_federated_identity_credential.workflow : c.issuer == "https://token.actions.githubusercontent.com" && c.audience[0] == "api://AzureADTokenExchange"])
    error_message = "its tokens are the repository's, for Entra ID"
  }

  assert {
    # flip workflows.tf | ? "AcrPush" : "AcrPull" | ? "AcrPush" : "AcrPush"
    condition     = { for k, r in azurerm_role_assignment.workflow_registry : k => r.role_definition_name } == { cloud-blue = "AcrPull", cloud-green = "AcrPull", release = "AcrPush" }
    error_message = "a release alone pushes"
  }

  assert {
    # flip workflows.tf | role_definition_name = "Monitoring Reader" | role_definition_name = "Contributor"
    # flip workflows.tf | setsubtract(local.environments, ["release"]) | local.environments
    # flip workflows.tf | scope = local.frontdoor_profile_id | scope = local.registry_id
    condition     = [for k, r in azurerm_role_assignment.workflow_frontdoor : "${k} ${r.role_definition_name} ${basename(dirname(r.scope))}"] == ["cloud-blue Monitoring Reader profiles", "cloud-green Monitoring Reader profiles"]
    error_message = "a deployment reads the front door's metrics, and no more"
  }
}
