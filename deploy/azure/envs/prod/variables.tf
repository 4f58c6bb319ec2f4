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
  description = "The Git repository that Flux reads."
  type        = string
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

variable "green_host" {
  description = "The host name of the certificate of cloud-green's gateways."
  type        = string
}

variable "blue_host" {
  description = "The host name of the certificate of cloud-blue's gateways."
  type        = string
}

variable "private_link" {
  description = "Whether the front door reaches the stamps through Private Link and an internal load balancer of the cluster that speaks TLS, instead of an Application Gateway on the internet."
  type        = bool
  default     = false
}

variable "green_frontend_id" {
  description = "With private_link: the frontend of cloud-green's internal load balancer, once its Service is there; null before. The origin is off until then."
  type        = string
  default     = null
}

variable "blue_frontend_id" {
  description = "The same for cloud-blue."
  type        = string
  default     = null
}

variable "site_cluster_id" {
  description = "The connected cluster of the site onprem; null where it is not connected to Azure Arc."
  type        = string
  default     = null
}

variable "site_host" {
  description = "The host name under which the site onprem takes requests of the front door from the internet; null, the usual case, where it lets nothing in. Then it is no origin."
  type        = string
  default     = null
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

variable "green_existing" {
  description = "What cloud-green has already, by id; the rest is made. With a network or cluster of its own it has no Application Gateway of ours. See the variables existing_* of modules/stamp."
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

variable "blue_existing" {
  description = "What cloud-blue has already, by id; the rest is made. With a network or cluster of its own it has no Application Gateway of ours. See the variables existing_* of modules/stamp."
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

variable "domain" {
  description = "The host name that clients know; null where the one that Azure gives is enough. See domain of global."
  type        = string
  default     = null
}

variable "workflow_repository" {
  description = "The repository (OWNER/NAME) whose workflows release and deploy; null for none."
  type        = string
  default     = null
}

variable "git_secret" {
  description = "The Secret of flux-system that Flux reads a private repository with; null for a public one. You put it there."
  type        = string
  default     = null
}

variable "vault_ip_rules" {
  description = "Addresses from which secrets are put into the vaults over the internet; none, and they are reached from the stamps' own networks alone."
  type        = list(string)
  default     = []
}

variable "alert_when_nothing_comes" {
  description = "Whether a quarter of an hour without a message in the hub is told of. Off where silence is usual."
  type        = bool
  default     = true
}
