locals {
  # Each: what is looked at, when it is too much, how bad that is, and what it means.
  alerts = {
    share-half-full = {
      scope       = "${azurerm_storage_account.queue.id}/fileServices/default"
      namespace   = "Microsoft.Storage/storageAccounts/fileServices"
      metric      = "FileCapacity"
      aggregation = "Average"
      operator    = "GreaterThan"
      threshold   = var.share.gib * 1024 * 1024 * 1024 * 0.5
      severity    = 2
      frequency   = "PT15M"
      window      = "PT1H"
      dimension   = null
      description = "The queue's share is half full: messages wait longer than usual. Look at postroad_queue_unforwarded_messages and whether the hub takes them."
    }
    share-fills = {
      scope       = "${azurerm_storage_account.queue.id}/fileServices/default"
      namespace   = "Microsoft.Storage/storageAccounts/fileServices"
      metric      = "FileCapacity"
      aggregation = "Average"
      operator    = "GreaterThan"
      threshold   = var.share.gib * 1024 * 1024 * 1024 * 0.8
      severity    = 1
      frequency   = "PT15M"
      window      = "PT1H"
      dimension   = null
      description = "The queue's share is 80 % full. Forwarded messages go first, then 507: see docs/space.md."
    }
    share-unavailable = {
      scope       = azurerm_storage_account.queue.id
      namespace   = "Microsoft.Storage/storageAccounts"
      metric      = "Availability"
      aggregation = "Average"
      operator    = "LessThan"
      threshold   = 99.9
      severity    = 1
      frequency   = "PT1M"
      window      = "PT5M"
      dimension   = null
      description = "The queue's share fails requests. Gateways answer outcome-unknown or 503; the front door goes elsewhere."
    }
    nodes-not-ready = {
      scope       = local.cluster_id
      namespace   = "Microsoft.ContainerService/managedClusters"
      metric      = "kube_node_status_condition"
      aggregation = "Average"
      operator    = "GreaterThan"
      threshold   = 0
      severity    = 2
      frequency   = "PT1M"
      window      = "PT5M"
      dimension   = { name = "status2", values = ["NotReady", "Unknown"] }
      description = "A node is not ready for five minutes. Pods move by themselves; look whether the autoscaler replaces it."
    }
  }
}

resource "azurerm_monitor_metric_alert" "this" {
  for_each = { for name, alert in local.alerts : name => alert if var.action_group != null }

  name                = "${var.name}-${each.key}"
  resource_group_name = local.resource_group_name
  scopes              = [each.value.scope]
  description         = each.value.description
  severity            = each.value.severity
  frequency           = each.value.frequency
  window_size         = each.value.window
  tags                = local.tags

  criteria {
    metric_namespace = each.value.namespace
    metric_name      = each.value.metric
    aggregation      = each.value.aggregation
    operator         = each.value.operator
    threshold        = each.value.threshold

    dynamic "dimension" {
      for_each = each.value.dimension == null ? [] : [each.value.dimension]

      content {
        name     = dimension.value.name
        operator = "Include"
        values   = dimension.value.values
      }
    }
  }

  action {
    action_group_id = var.action_group.id
  }
}
