resource "azurerm_kubernetes_cluster_extension" "flux" {
  count = var.flux == null ? 0 : 1

  name           = "flux"
  cluster_id     = local.cluster_id
  extension_type = "microsoft.flux"
}

resource "azurerm_kubernetes_flux_configuration" "this" {
  count = var.flux == null ? 0 : 1

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
    wait                       = true
  }

  depends_on = [azurerm_kubernetes_cluster_extension.flux]
}
