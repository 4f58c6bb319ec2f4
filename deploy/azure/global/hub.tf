locals {
  hub_namespace_id = var.existing_hub_namespace_id != null ? var.existing_hub_namespace_id : azurerm_eventhub_namespace.this[0].id
  hub_namespace    = var.existing_hub_namespace_id != null ? split("/", var.existing_hub_namespace_id)[8] : azurerm_eventhub_namespace.this[0].name
  hub_group        = var.existing_hub_namespace_id != null ? split("/", var.existing_hub_namespace_id)[4] : local.resource_group_name

  # Made here or there already.
  topic_names = { for name, t in var.topics : name => t.existing ? name : azurerm_eventhub.this[name].name }
  topic_ids   = { for name, t in var.topics : name => t.existing ? "${local.hub_namespace_id}/eventhubs/${name}" : azurerm_eventhub.this[name].id }
}

# Zone-redundant by itself, since var.location has zones: the provider has no
# setting for it any more.
resource "azurerm_eventhub_namespace" "this" {
  count = var.existing_hub_namespace_id == null ? 1 : 0

  name                = "${var.name}-${var.environment}-hub"
  resource_group_name = local.resource_group_name
  location            = var.location
  sku                 = var.hub.sku
  capacity            = var.hub.units
  tags                = local.tags

  # Auto-inflate is of Standard alone; it grows and never shrinks.
  auto_inflate_enabled     = var.hub.sku == "Standard"
  maximum_throughput_units = var.hub.sku == "Standard" ? var.hub.max_units : null

  minimum_tls_version          = "1.2"
  local_authentication_enabled = var.hub.connection_strings

  # The site comes over the internet, so the door stays open to named addresses.
  public_network_access_enabled = true

  # An attribute, though it is documented as a block: a block here takes no lists.
  network_rulesets = [{
    default_action                 = "Deny"
    public_network_access_enabled  = true
    trusted_service_access_enabled = true
    ip_rule                        = [for r in var.hub.ip_rules : { ip_mask = r, action = "Allow" }]

    virtual_network_rule = [for s in var.hub_subnets : {
      subnet_id                                       = s.id
      ignore_missing_virtual_network_service_endpoint = false
    }]
  }]
}

resource "azurerm_eventhub" "this" {
  for_each = { for name, t in var.topics : name => t if !t.existing }

  name            = each.key
  namespace_id    = local.hub_namespace_id
  partition_count = each.value.partitions

  # Never compacted: positions of readers are offsets without holes.
  retention_description {
    cleanup_policy          = "Delete"
    retention_time_in_hours = each.value.retention_hours
  }
}

# For sites without a workload identity: two rules an event hub, and none that
# may manage. A forwarder listens, too, since it reads back what it has sent.
resource "azurerm_eventhub_authorization_rule" "forward" {
  for_each = var.hub.connection_strings ? var.topics : {}

  name                = "forward"
  namespace_name      = local.hub_namespace
  eventhub_name       = local.topic_names[each.key]
  resource_group_name = local.hub_group
  send                = true
  listen              = true
  manage              = false
}

resource "azurerm_eventhub_authorization_rule" "stream" {
  for_each = var.hub.connection_strings ? var.topics : {}

  name                = "stream"
  namespace_name      = local.hub_namespace
  eventhub_name       = local.topic_names[each.key]
  resource_group_name = local.hub_group
  send                = false
  listen              = true
  manage              = false
}
