variable "name" {
  description = "The stamp: stamp.name of its configuration, and the folder of deploy/gitops/clusters that Flux applies."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "name: 3 to 20 of a-z, 0-9 and -, such as cloud-green."
  }
}

variable "prefix" {
  description = "Begins the names of storage account and vault, which are unique in all of Azure: 3 to 8 of a-z and 0-9."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{2,7}$", var.prefix))
    error_message = "prefix: 3 to 8 of a-z and 0-9, beginning with a letter."
  }
}

variable "environment" {
  description = "dev or prod. In prod what would give up a promise is refused."
  type        = string

  validation {
    condition     = contains(["dev", "prod"], var.environment)
    error_message = "environment: dev or prod."
  }
}

variable "location" {
  description = "The region."
  type        = string
}

variable "tenant_id" {
  description = "The Entra ID tenant of the vault."
  type        = string

  validation {
    condition     = can(regex("^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$", var.tenant_id))
    error_message = "tenant_id: a UUID in lower case."
  }
}

variable "tags" {
  description = "Tags of every resource."
  type        = map(string)
  default     = {}
}

variable "existing_resource_group_id" {
  description = "A resource group that is there already; null makes one."
  type        = string
  default     = null

  validation {
    condition     = var.existing_resource_group_id == null || can(regex("^/subscriptions/[^/]+/resourceGroups/[^/]+$", var.existing_resource_group_id))
    error_message = "existing_resource_group_id: the whole id of a resource group."
  }
}

variable "existing_network" {
  description = <<-EOT
    A VNet that is there already, with a subnet for nodes (service endpoints Microsoft.EventHub and Microsoft.KeyVault)
    and one for private endpoints and the NAT addresses of the Private Link service (its network policies off); null
    makes them. file_dns_zone_id is the zone privatelink.file.core.windows.net that the VNet is linked to already, since
    it cannot be linked to two of one name; null makes one.
  EOT
  type = object({
    vnet_id            = string
    nodes_subnet_id    = string
    endpoint_subnet_id = string
    file_dns_zone_id   = optional(string)
  })
  default = null

  validation {
    condition     = var.existing_network == null || can(regex("/resourceGroups/[^/]+/providers/Microsoft.Network/virtualNetworks/[^/]+$", var.existing_network.vnet_id))
    error_message = "existing_network.vnet_id: the whole id of a virtual network."
  }
}

variable "existing_cluster_id" {
  description = "An AKS cluster that is there already, with OIDC issuer, workload identity and the Key Vault CSI driver on; null makes one."
  type        = string
  default     = null

  validation {
    condition     = var.existing_cluster_id == null || can(regex("/resourceGroups/[^/]+/providers/Microsoft.ContainerService/managedClusters/[^/]+$", var.existing_cluster_id))
    error_message = "existing_cluster_id: the whole id of an AKS cluster."
  }
}

variable "address_space" {
  description = "The VNet's addresses. They must not overlap with those of peers."
  type        = string
  default     = "10.40.0.0/16"

  validation {
    condition     = can(cidrsubnet(var.address_space, 8, 1)) && tonumber(split("/", var.address_space)[1]) <= 20
    error_message = "address_space: a CIDR of /20 or more addresses."
  }
}

variable "peers" {
  description = "VNets to peer with, by name. Each side peers with the other."
  type        = map(object({ vnet_id = string }))
  default     = {}
}

variable "cluster" {
  description = <<-EOT
    The AKS cluster. Three nodes or more, so that a zone that goes away leaves two; the autoscaler adds up to max_nodes.
    upgrade_day differs from stamp to stamp, so that two are never upgraded at once. api_server_ranges are the addresses
    that reach its API; private = true opens it to the VNet alone.
  EOT
  type = object({
    version           = optional(string)
    vm_size           = optional(string, "Standard_D4ds_v5")
    zones             = optional(list(string), ["1", "2", "3"])
    min_nodes         = optional(number, 3)
    max_nodes         = optional(number, 5)
    admin_group_ids   = optional(list(string), [])
    private           = optional(bool, false)
    api_server_ranges = optional(list(string), [])
    upgrade_day       = optional(string, "Tuesday")
    keda              = optional(bool, true)
  })
  default = {}

  validation {
    condition     = var.cluster.min_nodes >= 1 && var.cluster.max_nodes >= var.cluster.min_nodes
    error_message = "cluster: 1 <= min_nodes <= max_nodes."
  }

  validation {
    condition     = contains(["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"], var.cluster.upgrade_day)
    error_message = "cluster.upgrade_day: a day of the week, such as Tuesday."
  }
}

variable "application_gateway" {
  description = "Makes an Application Gateway with the cluster's ingress controller, for stamps that the front door reaches over the internet."
  type        = bool
  default     = false
}

variable "gate" {
  description = "Who watches deployments to the stamp (output workflows of global); null for nobody."
  type        = object({ principal_id = string })
  default     = null
}

variable "frontdoor_id" {
  description = "What X-Azure-FDID says on requests of our front door (output frontdoor_id of global). The Application Gateway refuses requests without it."
  type        = string
  default     = null
}

variable "namespace" {
  description = "The namespace of the stamp in the cluster."
  type        = string
  default     = "postroad"
}

variable "workloads" {
  description = "What runs in the cluster with an identity of its own, by name: its service account, and whether it sends to the hub and reads from it. Forwarders do both, since they read back what they have sent; stream nodes only read."
  type = map(object({
    service_account = string
    send            = bool
    receive         = bool
  }))
  # The service accounts of the chart. Where gateways and forwarders run apart
  # (mode separate), "forwarder" has what "gateway" has here, and that has neither.
  default = {
    gateway = { service_account = "postroad-gateway", send = true, receive = true }
    stream  = { service_account = "postroad-stream", send = false, receive = true }
  }
}

variable "registry" {
  description = "The registry that nodes pull from (output registry of global); null where it asks nobody."
  type        = object({ id = string })
  default     = null
}

variable "hub" {
  description = "The hub (output hub of global); null where it is no Event Hubs."
  type = object({
    topic_ids = map(string)
  })
  default = null
}

variable "share" {
  description = <<-EOT
    The queue's share. protocol NFS (4.1) or SMB (3.1.1); replication ZRS keeps three copies in three zones, LRS three
    in one and is refused in prod. gib is the size that is paid for; on premium shares speed grows with it.
  EOT
  type = object({
    protocol    = optional(string, "NFS")
    replication = optional(string, "ZRS")
    gib         = optional(number, 256)
  })
  default = {}

  validation {
    condition     = contains(["NFS", "SMB"], var.share.protocol)
    error_message = "share.protocol: NFS or SMB."
  }

  validation {
    condition     = contains(["ZRS", "LRS"], var.share.replication)
    error_message = "share.replication: ZRS or LRS. Premium shares have no others."
  }

  validation {
    condition     = var.share.gib >= 100 && var.share.gib <= 102400
    error_message = "share.gib: 100 to 102400."
  }
}

variable "vault_ip_rules" {
  description = "Addresses that reach the vault over the internet, to put secrets there. None by default: then only the stamp's own subnets do."
  type        = list(string)
  default     = []
}

variable "origin" {
  description = <<-EOT
    How the front door reaches the stamp through Private Link; null for none. Either frontend_id, a frontend of the
    cluster's internal load balancer (there once the gateways' Service is), for which a Private Link service is made;
    or service_id, one that is there already.
  EOT
  type = object({
    frontend_id = optional(string)
    service_id  = optional(string)
  })
  default = null

  validation {
    condition     = var.origin == null || try((var.origin.frontend_id == null) != (var.origin.service_id == null), false)
    error_message = "origin: either frontend_id or service_id."
  }
}

variable "flux" {
  description = "The repository that Flux applies deploy/gitops/clusters/NAME of; null where Flux is set up otherwise. secret is the Secret of flux-system that it reads a private repository with, put there by you: no state holds it."
  type = object({
    url    = string
    branch = optional(string, "main")
    secret = optional(string)
  })
  default = null
}

variable "log_workspace" {
  description = "Where logs go (output log_workspace of global); null for nowhere."
  type        = object({ id = string })
  default     = null
}

variable "action_group" {
  description = "Who is told of alerts (output action_group of global); null for nobody, and no alerts."
  type        = object({ id = string })
  default     = null
}
