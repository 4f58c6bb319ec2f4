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
  description = "What the stamps' values of the chart need, and where their host names have to lead."
  value = {
    cloud-green = { identities = module.green.identities, vault = module.green.vault_name, share = module.green.share, gateway = module.green.application_gateway }
    cloud-blue  = { identities = module.blue.identities, vault = module.blue.vault_name, share = module.blue.share, gateway = module.blue.application_gateway }
  }
}

output "domain_validation" {
  description = "What DNS has to say of domain; null without one."
  value       = module.global.domain_validation
}

output "workflows" {
  description = "AZURE_CLIENT_ID of the repository's environments, by name."
  value       = { for name, w in module.global.workflows : name => w.client_id }
}
