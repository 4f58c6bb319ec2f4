variable "name" {
  description = "Begins the name of every resource: 3 to 12 of a-z and 0-9, beginning with a letter."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{2,11}$", var.name))
    error_message = "name: 3 to 12 of a-z and 0-9, beginning with a letter."
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
  description = "The region of what stands in one region: resource group, registry, hub, workspace. It must have availability zones, since the hub is zone-redundant in such regions and in no other."
  type        = string
  default     = "eastus2"

  validation {
    condition = contains([
      "australiaeast", "brazilsouth", "canadacentral", "centralindia", "centralus", "eastasia", "eastus", "eastus2",
      "francecentral", "germanywestcentral", "israelcentral", "italynorth", "japaneast", "japanwest", "koreacentral",
      "mexicocentral", "newzealandnorth", "northeurope", "norwayeast", "polandcentral", "qatarcentral",
      "southafricanorth", "southcentralus", "southeastasia", "spaincentral", "swedencentral", "switzerlandnorth",
      "uaenorth", "uksouth", "westeurope", "westus2", "westus3",
    ], var.location)
    error_message = "location: a region with availability zones, written like eastus2."
  }
}

variable "replica_locations" {
  description = "The regions that the registry is replicated to, so that a stamp can pull images while another region is away. Not location itself."
  type        = set(string)
  default     = ["centralus"]
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

variable "existing_registry_id" {
  description = "A registry that is there already; null makes one. What is asked of ours (Premium, zones, replicas, no admin user) is then for its owner to see to."
  type        = string
  default     = null

  validation {
    condition     = var.existing_registry_id == null || can(regex("/resourceGroups/[^/]+/providers/Microsoft.ContainerRegistry/registries/[^/]+$", var.existing_registry_id))
    error_message = "existing_registry_id: the whole id of a container registry."
  }
}

variable "existing_hub_namespace_id" {
  description = "An Event Hubs namespace that is there already; null makes one. The event hubs and rules are made in it."
  type        = string
  default     = null

  validation {
    condition     = var.existing_hub_namespace_id == null || can(regex("/resourceGroups/[^/]+/providers/Microsoft.EventHub/namespaces/[^/]+$", var.existing_hub_namespace_id))
    error_message = "existing_hub_namespace_id: the whole id of an Event Hubs namespace."
  }
}

variable "existing_frontdoor_profile_id" {
  description = "A Front Door Premium profile that is there already; null makes one. Endpoint, origins, route and firewall are made in it."
  type        = string
  default     = null

  validation {
    condition     = var.existing_frontdoor_profile_id == null || can(regex("/resourceGroups/[^/]+/providers/Microsoft.Cdn/profiles/[^/]+$", var.existing_frontdoor_profile_id))
    error_message = "existing_frontdoor_profile_id: the whole id of a Front Door profile."
  }
}

variable "existing_log_workspace_id" {
  description = "A Log Analytics workspace that is there already; null makes one."
  type        = string
  default     = null

  validation {
    condition     = var.existing_log_workspace_id == null || can(regex("/providers/Microsoft.OperationalInsights/workspaces/[^/]+$", var.existing_log_workspace_id))
    error_message = "existing_log_workspace_id: the whole id of a Log Analytics workspace."
  }
}

variable "log_retention_days" {
  description = "For how many days logs are kept, 30 to 730."
  type        = number
  default     = 30

  validation {
    condition     = var.log_retention_days >= 30 && var.log_retention_days <= 730
    error_message = "log_retention_days: 30 to 730."
  }
}

variable "hub" {
  description = <<-EOT
    The Event Hubs namespace. A throughput unit takes 1 MB/s in and gives 2 MB/s out, and every stream node reads the
    whole topic: units >= max(MB/s in, nodes x MB/s in / 2). ip_rules are the addresses of sites that reach it over the
    internet; subnet_ids those of stamps. With connection_strings = false only Entra ID counts, which sites without a
    workload identity do not have.
  EOT
  type = object({
    sku                = optional(string, "Standard")
    units              = optional(number, 2)
    max_units          = optional(number, 10)
    connection_strings = optional(bool, true)
    ip_rules           = optional(list(string), [])
  })
  default = {}

  validation {
    condition     = contains(["Standard", "Premium"], var.hub.sku)
    error_message = "hub.sku: Standard or Premium; Basic has no Kafka endpoint."
  }

  validation {
    condition     = var.hub.units >= 1 && var.hub.max_units >= var.hub.units && var.hub.max_units <= 40
    error_message = "hub.units and hub.max_units: 1 <= units <= max_units <= 40."
  }
}

variable "hub_subnets" {
  description = "Subnets of stamps that reach the hub through the service endpoint Microsoft.EventHub, by stamp."
  type        = map(object({ id = string }))
  default     = {}
}

variable "topics" {
  description = "Event hubs, by name. Partitions cannot be made fewer, and on Standard not more: choose once. Hours are how long a message is kept, and how long a screen may be away and still get what it missed. One that is existing is taken as it is."
  type = map(object({
    partitions      = optional(number, 8)
    retention_hours = optional(number, 168)
    existing        = optional(bool, false)
  }))
  default = { messages = {} }

  validation {
    condition     = length(var.topics) > 0 && alltrue([for t in var.topics : t.partitions >= 1 && t.partitions <= 32 && t.retention_hours >= 1 && t.retention_hours <= 168])
    error_message = "topics: one at least, each with 1 to 32 partitions and 1 to 168 hours."
  }
}

variable "origins" {
  description = <<-EOT
    The stamps that the front door sends requests to, by name. Requests go to the lowest priority that is healthy, among
    equals to those within latency_sensitivity_ms of the fastest, then by weight. host_name is what the stamp's
    certificate is for. With private_link the request stays inside Azure, and the connection has to be approved once.
  EOT
  type = map(object({
    host_name = string
    priority  = number
    weight    = number
    enabled   = optional(bool, true)
    private_link = optional(object({
      service_id = string
      location   = string
    }))
  }))

  validation {
    condition     = length(var.origins) > 0 && alltrue([for o in var.origins : o.priority >= 1 && o.priority <= 5 && o.weight >= 1 && o.weight <= 1000])
    error_message = "origins: one at least, each with a priority of 1 to 5 and a weight of 1 to 1000."
  }
}

variable "latency_sensitivity_ms" {
  description = "By how much slower than the fastest an origin may answer probes and still get its share, in milliseconds, 0 to 1000."
  type        = number
  default     = 30

  validation {
    condition     = var.latency_sensitivity_ms >= 0 && var.latency_sensitivity_ms <= 1000
    error_message = "latency_sensitivity_ms: 0 to 1000."
  }
}

variable "probe" {
  description = "How the front door looks at origins: each of its many places asks for path every interval_seconds. Of samples in a row, passing must pass."
  type = object({
    path             = optional(string, "/healthz")
    interval_seconds = optional(number, 5)
    samples          = optional(number, 4)
    passing          = optional(number, 3)
  })
  default = {}

  validation {
    condition     = startswith(var.probe.path, "/") && var.probe.interval_seconds >= 1 && var.probe.interval_seconds <= 255
    error_message = "probe: a path that begins with a slash, an interval of 1 to 255 seconds."
  }

  validation {
    condition     = var.probe.passing >= 1 && var.probe.passing <= var.probe.samples && var.probe.samples <= 255
    error_message = "probe: 1 <= passing <= samples <= 255."
  }
}

variable "waf" {
  description = <<-EOT
    The firewall of the front door. rate_limit is how many requests a minute one address may send, but for those of
    unlimited: a site with all its clients is one address. Bodies are the
    messages of others and are not looked into unless inspect_bodies is set: a message that looks like an attack would
    be refused, and with it what a client has to say.
  EOT
  type = object({
    mode           = optional(string, "Prevention")
    rate_limit     = optional(number, 30000)
    unlimited      = optional(list(string), [])
    inspect_bodies = optional(bool, false)
  })
  default = {}

  validation {
    condition     = contains(["Prevention", "Detection"], var.waf.mode)
    error_message = "waf.mode: Prevention or Detection."
  }
}

variable "alert_emails" {
  description = "Who is told of alerts, by name."
  type        = map(string)
  default     = {}
}

variable "alert_when_nothing_comes" {
  description = "Whether a quarter of an hour without a message in the hub is told of: it is how a hub that refuses everybody looks. Off where silence is usual."
  type        = bool
  default     = true
}

variable "site_registry_tokens" {
  description = "Sites that pull images with a token of their own, by name, such as onprem. A token may pull the one repository and has no password until you ask for one, so that no state holds it."
  type        = set(string)
  default     = []
}

variable "domain" {
  description = "The host name that clients know, which is yours and can be led elsewhere; null where the name that Azure gives is enough. Its certificate is Azure's, once DNS has its CNAME and the TXT record of output domain_validation."
  type        = string
  default     = null
}

variable "workflows" {
  description = "The repository (OWNER/NAME) whose workflows push images and watch deployments, and its environments, one for each stamp beside release; null for none. They have identities that only these environments can use, and no passwords."
  type = object({
    repository = string
    stamps     = set(string)
    issuer     = optional(string, "https://token.actions.githubusercontent.com")
  })
  default = null

  validation {
    condition     = var.workflows == null || can(regex("^[^/]+/[^/]+$", var.workflows.repository))
    error_message = "workflows.repository: OWNER/NAME."
  }
}
