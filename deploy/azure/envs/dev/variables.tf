variable "subscription_id" {
  description = "The subscription that everything is made in."
  type        = string
}

variable "tenant_id" {
  description = "The Entra ID tenant."
  type        = string
}

variable "name" {
  description = "Begins the name of every resource, of those that are unique in all of Azure, too: 3 to 8 of a-z and 0-9."
  type        = string
}

variable "repository" {
  description = "The Git repository that Flux reads, which has to have deploy/gitops/clusters/cloud-dev; null, where the stamp is installed by Helm."
  type        = string
  default     = null
}

variable "admin_group_ids" {
  description = "Groups of Entra ID that administer the clusters."
  type        = list(string)
}

variable "api_server_ranges" {
  description = "Addresses that reach the clusters' API."
  type        = list(string)
}

variable "site_addresses" {
  description = "Addresses by which sites reach the hub over the internet."
  type        = list(string)
  default     = []
}

variable "alert_emails" {
  description = "Who is told of alerts, by name."
  type        = map(string)
}

variable "host" {
  description = "The host name of the certificate of the stamp's gateways."
  type        = string
}

variable "existing" {
  description = "What stamps share and is there already, by id; the rest is made. See the variables existing_* of global."
  type = object({
    resource_group_id    = optional(string)
    registry_id          = optional(string)
    hub_namespace_id     = optional(string)
    frontdoor_profile_id = optional(string)
    log_workspace_id     = optional(string)
  })
  default = {}
}

variable "stamp_existing" {
  description = "What the stamp has already, by id; the rest is made. With a network or cluster of its own it has no Application Gateway of ours. See the variables existing_* of modules/stamp."
  type = object({
    resource_group_id = optional(string)
    cluster_id        = optional(string)
    network = optional(object({
      vnet_id            = string
      nodes_subnet_id    = string
      endpoint_subnet_id = string
      file_dns_zone_id   = optional(string)
    }))
  })
  default = {}
}
