output "registry" {
  description = "The registry, as modules/stamp takes it."
  value = {
    id = local.registry_id
  }
}

output "registry_server" {
  description = "Where images are pushed to and pulled from."
  value       = var.existing_registry_id == null ? azurerm_container_registry.this[0].login_server : data.azurerm_container_registry.existing[0].login_server
}

output "hub" {
  description = "The hub, as modules/stamp takes it."
  value = {
    namespace_id = local.hub_namespace_id
    topic_ids    = local.topic_ids
  }
}

output "hub_open_to" {
  description = "Who reaches the hub: addresses, and stamps; null for one that was there already."
  value = one([for n in azurerm_eventhub_namespace.this : {
    addresses = [for r in n.network_rulesets[0].ip_rule : r.ip_mask]
    stamps    = keys(var.hub_subnets)
  }])
}

output "unlimited" {
  description = "Addresses that the front door's limit does not count."
  value       = var.waf.unlimited
}

output "site_tokens" {
  description = "Tokens of the registry, for sites; their passwords are made by hand."
  value       = keys(azurerm_container_registry_token.site)
}

output "hub_units" {
  description = "Throughput units of the hub, at least and at most; null for one that was there already."
  value       = one([for n in azurerm_eventhub_namespace.this : [n.capacity, n.maximum_throughput_units]])
}

output "hub_brokers" {
  description = "What hub.brokers is to be."
  value       = ["${local.hub_namespace}.servicebus.windows.net:9093"]
}

output "address" {
  description = "The one address of all stamps."
  value       = "https://${var.domain != null ? var.domain : azurerm_cdn_frontdoor_endpoint.this.host_name}"
}

output "domain_validation" {
  description = "What DNS has to say of domain: where its CNAME leads, and the text of the TXT record _dnsauth before its name; null without one."
  value = one([for d in azurerm_cdn_frontdoor_custom_domain.this : {
    cname = azurerm_cdn_frontdoor_endpoint.this.host_name
    txt   = d.validation_token
  }])
}

output "workflows" {
  description = "Identities of the repository's environments, by name: client_id is AZURE_CLIENT_ID there, principal_id what modules/stamp takes as gate."
  value       = { for name, i in azurerm_user_assigned_identity.workflow : name => { client_id = i.client_id, principal_id = i.principal_id } }
}

output "frontdoor_id" {
  description = "What X-Azure-FDID says on requests of this front door, as modules/stamp takes it, and for door.trusted_header."
  value       = var.existing_frontdoor_profile_id == null ? azurerm_cdn_frontdoor_profile.this[0].resource_guid : data.azurerm_cdn_frontdoor_profile.existing[0].resource_guid
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
