variable "name" {
  description = "The stamp: stamp.name of its configuration, and the folder of deploy/gitops/clusters that Flux applies."
  type        = string
  default     = "onprem"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "name: 3 to 20 of a-z, 0-9 and -, such as onprem."
  }
}

variable "location" {
  description = "The region that keeps what Arc knows of the cluster."
  type        = string
}

variable "resource_group_name" {
  description = "Where the connected cluster is listed."
  type        = string
}

variable "tags" {
  description = "Tags of the connected cluster."
  type        = map(string)
  default     = {}
}

variable "existing_cluster_id" {
  description = "A cluster that `az connectedk8s connect` connected, which is the usual way; null makes the resource, and agents have to be installed with the key of agent_public_key."
  type        = string
  default     = null

  validation {
    condition     = var.existing_cluster_id == null || can(regex("/providers/Microsoft.Kubernetes/connectedClusters/[^/]+$", var.existing_cluster_id))
    error_message = "existing_cluster_id: the whole id of a connected cluster."
  }
}

variable "agent_public_key" {
  description = "The public key of the cluster's agents, in base64; only without existing_cluster_id."
  type        = string
  default     = null

  validation {
    condition     = var.agent_public_key == null || can(base64decode(var.agent_public_key))
    error_message = "agent_public_key: base64."
  }
}

variable "flux" {
  description = "The repository that Flux applies deploy/gitops/clusters/NAME of. secret is the Secret of flux-system that it reads a private repository with, put there by you: no state holds it."
  type = object({
    url    = string
    branch = optional(string, "main")
    secret = optional(string)
  })
}
