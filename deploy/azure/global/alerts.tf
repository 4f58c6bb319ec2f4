resource "azurerm_monitor_action_group" "this" {
  name                = "${var.name}-${var.environment}"
  resource_group_name = local.resource_group_name
  short_name          = "postroad"
  tags                = local.tags

  dynamic "email_receiver" {
    for_each = var.alert_emails

    content {
      name                    = email_receiver.key
      email_address           = email_receiver.value
      use_common_alert_schema = true
    }
  }
}

# An origin that one in ten probes of five minutes did not find.
resource "azurerm_monitor_metric_alert" "origin" {
  name                = "postroad-origin-unhealthy"
  resource_group_name = local.resource_group_name
  scopes              = [local.frontdoor_profile_id]
  description         = "The front door finds an origin unhealthy. Look at the stamp's /healthz, then at docs/door.md."
  severity            = 1
  frequency           = "PT1M"
  window_size         = "PT5M"
  tags                = local.tags

  criteria {
    metric_namespace = "Microsoft.Cdn/profiles"
    metric_name      = "OriginHealthPercentage"
    aggregation      = "Average"
    operator         = "LessThan"
    threshold        = 90

    dimension {
      name     = "Origin"
      operator = "Include"
      values   = ["*"]
    }
  }

  action {
    action_group_id = azurerm_monitor_action_group.this.id
  }
}

# The hub fails requests, or takes nothing at all: messages pile up in the stamps,
# which go on accepting and look well.
resource "azurerm_monitor_metric_alert" "hub" {
  for_each = merge(
    { fails = { metric = "ServerErrors", operator = "GreaterThan", threshold = 0, window = "PT5M", means = "The hub fails requests." } },
    var.alert_when_nothing_comes ? { silent = { metric = "IncomingMessages", operator = "LessThan", threshold = 1, window = "PT15M", means = "Nothing has come into the hub for a quarter of an hour." } } : {},
  )

  name                = "postroad-hub-${each.key}"
  resource_group_name = local.resource_group_name
  scopes              = [local.hub_namespace_id]
  description         = "${each.value.means} What stamps accept waits in their shares: look at postroad_queue_unforwarded_messages, then at docs/operating-the-hub.md."
  severity            = 1
  frequency           = "PT1M"
  window_size         = each.value.window
  tags                = local.tags

  criteria {
    metric_namespace = "Microsoft.EventHub/namespaces"
    metric_name      = each.value.metric
    aggregation      = "Total"
    operator         = each.value.operator
    threshold        = each.value.threshold
  }

  action {
    action_group_id = azurerm_monitor_action_group.this.id
  }
}

# The hub makes clients wait: too few throughput units for what comes in, or for
# as many stream nodes as read it.
resource "azurerm_monitor_metric_alert" "throttled" {
  name                = "postroad-hub-throttles"
  resource_group_name = local.resource_group_name
  scopes              = [local.hub_namespace_id]
  description         = "The hub throttles. Nothing is lost; the backlog grows if it lasts. See docs/operating-the-hub.md."
  severity            = 2
  frequency           = "PT1M"
  window_size         = "PT5M"
  tags                = local.tags

  criteria {
    metric_namespace = "Microsoft.EventHub/namespaces"
    metric_name      = "ThrottledRequests"
    aggregation      = "Total"
    operator         = "GreaterThan"
    threshold        = 0
  }

  action {
    action_group_id = azurerm_monitor_action_group.this.id
  }
}
