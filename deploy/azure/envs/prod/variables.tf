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
