locals {
  cluster_id = var.existing_cluster_id != null ? var.existing_cluster_id : azurerm_arc_kubernetes_cluster.this[0].id
}

resource "azurerm_arc_kubernetes_cluster" "this" {
  count = var.existing_cluster_id == null ? 1 : 0

  name                         = var.name
  resource_group_name          = var.resource_group_name
  location                     = var.location
  agent_public_key_certificate = var.agent_public_key
  tags                         = merge(var.tags, { system = "postroad", stamp = var.name })

  identity {
    type = "SystemAssigned"
  }

  lifecycle {
    precondition {
      condition     = var.agent_public_key != null
      error_message = "agent_public_key: needed where the connected cluster is made here."
    }
  }
}

resource "azurerm_arc_kubernetes_cluster_extension" "flux" {
  name           = "flux"
  cluster_id     = local.cluster_id
  extension_type = "microsoft.flux"

  identity {
    type = "SystemAssigned"
  }
}

# The site goes on as it is while Azure or the repository is out of reach: Flux
# applies what it has, and the cluster starts from images it holds.
resource "azurerm_arc_kubernetes_flux_configuration" "this" {
  # Not "postroad": that is what the repository itself calls its source.
  name                              = "cluster"
  cluster_id                        = local.cluster_id
  namespace                         = "flux-system"
  scope                             = "cluster"
  continuous_reconciliation_enabled = true

  git_repository {
    url                      = var.flux.url
    reference_type           = "branch"
    reference_value          = var.flux.branch
    sync_interval_in_seconds = 60
    local_auth_reference     = var.flux.secret
  }

  kustomizations {
    name                       = "stamp"
    path                       = "./deploy/gitops/clusters/${var.name}"
    garbage_collection_enabled = true
    sync_interval_in_seconds   = 300
    retry_interval_in_seconds  = 60
  }

  depends_on = [azurerm_arc_kubernetes_cluster_extension.flux]
}
