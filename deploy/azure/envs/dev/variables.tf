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

variable "host" {
  description = "The host name of the certificate of the stamp's gateways."
  type        = string
}
