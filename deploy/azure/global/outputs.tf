output "registry" {
  description = "The registry, as modules/stamp takes it."
  value = {
    id = local.registry_id
  }
}

output "registry_server" {
  description = "Where images are pushed to and pulled from; empty for a registry that was there already."
  value       = var.existing_registry_id == null ? azurerm_container_registry.this[0].login_server : ""
}

output "hub" {
  description = "The hub, as modules/stamp takes it."
  value = {
    namespace_id = local.hub_namespace_id
    topic_ids    = { for name, t in azurerm_eventhub.this : name => t.id }
  }
}

output "hub_brokers" {
  description = "What hub.brokers is to be."
  value       = ["${local.hub_namespace}.servicebus.windows.net:9093"]
}

output "address" {
  description = "The one address of all stamps."
  value       = "https://${azurerm_cdn_frontdoor_endpoint.this.host_name}"
}

output "frontdoor_id" {
  description = "What X-Azure-FDID says on requests of this front door, for door.trusted_header; empty for a profile that was there already."
  value       = var.existing_frontdoor_profile_id == null ? azurerm_cdn_frontdoor_profile.this[0].resource_guid : ""
}

output "log_workspace" {
  description = "Where logs go, as modules/stamp takes it."
  value = {
    id = local.log_workspace_id
  }
}

output "action_group" {
  description = "Who is told of alerts, as modules/stamp takes it."
  value = {
    id = azurerm_monitor_action_group.this.id
  }
}

output "origins" {
  description = "How the front door divides requests, by stamp."
  value = {
    for name, o in azurerm_cdn_frontdoor_origin.stamp : name => {
      priority = o.priority
      weight   = o.weight
      enabled  = o.enabled
      private  = length(o.private_link) > 0
    }
  }
}

output "registry_locations" {
  description = "Where images are kept; empty for a registry that was there already."
  value       = flatten([for r in azurerm_container_registry.this : concat([r.location], [for g in r.georeplications : g.location])])
}
