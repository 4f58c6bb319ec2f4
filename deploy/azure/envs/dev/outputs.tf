output "address" {
  description = "The one address of all stamps."
  value       = module.global.address
}

output "registry_server" {
  description = "Where images are pushed to."
  value       = module.global.registry_server
}

output "hub_brokers" {
  description = "What hub.brokers is to be."
  value       = module.global.hub_brokers
}

output "frontdoor_id" {
  description = "What X-Azure-FDID says on requests of the front door."
  value       = module.global.frontdoor_id
}

output "stamps" {
  description = "What the stamp's values of the chart need, and where its host name has to lead."
  value = {
    cloud-dev = { identities = module.stamp.identities, vault = module.stamp.vault_name, share = module.stamp.share, gateway = module.stamp.application_gateway }
  }
}
