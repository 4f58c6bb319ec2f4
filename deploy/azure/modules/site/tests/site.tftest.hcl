# One assertion for each property, with the changes ("# flip FILE | WAS | IS | N", N
# the occurrence) that have to make it fail; test/azure makes them.

mock_provider "azurerm" {
  mock_resource "azurerm_arc_kubernetes_cluster" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Kubernetes/connectedClusters/made"
    }
  }
}

variables {
  location            = "eastus2"
  resource_group_name = "sites"
  agent_public_key    = "a2V5"
  flux                = { url = "https://git.example.com/postroad", secret = "postroad-git" }
}

run "connected" {
  command = plan

  variables {
    existing_cluster_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/sites/providers/Microsoft.Kubernetes/connectedClusters/plant"
  }

  assert {
    # flip main.tf | count = var.existing_cluster_id == null ? 1 : 0 | count = 1
    condition     = length(azurerm_arc_kubernetes_cluster.this) == 0
    error_message = "a cluster that is connected is taken as it is"
  }

  assert {
    # flip main.tf | extension_type = "microsoft.flux" | extension_type = "microsoft.dapr"
    # flip main.tf | ? var.existing_cluster_id | ? replace(var.existing_cluster_id, "/plant", "/other")
    condition     = azurerm_arc_kubernetes_cluster_extension.flux.extension_type == "microsoft.flux" && endswith(azurerm_arc_kubernetes_cluster_extension.flux.cluster_id, "/plant")
    error_message = "Flux is there"
  }

  assert {
    # flip main.tf | url = var.flux.url | url = "https://git.example.com/other"
    # flip main.tf | reference_value = var.flux.branch | reference_value = "other"
    # flip variables.tf | branch = optional(string, "main") | branch = optional(string, "master")
    # flip main.tf | cluster_id = local.cluster_id namespace | cluster_id = replace(local.cluster_id, "/plant", "/other")\n namespace
    # flip main.tf | local_auth_reference = var.flux.secret | local_auth_reference = null
    condition     = [for r in azurerm_arc_kubernetes_flux_configuration.this.git_repository : "${r.url} ${r.reference_value} ${coalesce(r.local_auth_reference, "-")}"] == ["https://git.example.com/postroad main postroad-git"] && endswith(azurerm_arc_kubernetes_flux_configuration.this.cluster_id, "/plant")
    error_message = "Flux reads the branch main of the repository on that cluster"
  }

  assert {
    # flip main.tf | path = "./deploy/gitops/clusters/${var.name}" | path = "./deploy"
    # flip variables.tf | default = "onprem" | default = "plant"
    condition     = one(azurerm_arc_kubernetes_flux_configuration.this.kustomizations).path == "./deploy/gitops/clusters/onprem"
    error_message = "Flux applies the site's own folder"
  }

  assert {
    # flip main.tf | garbage_collection_enabled = true | garbage_collection_enabled = false
    condition     = one(azurerm_arc_kubernetes_flux_configuration.this.kustomizations).garbage_collection_enabled
    error_message = "Flux removes what is gone from the repository"
  }

  assert {
    # flip main.tf | continuous_reconciliation_enabled = true | continuous_reconciliation_enabled = false
    condition     = azurerm_arc_kubernetes_flux_configuration.this.continuous_reconciliation_enabled
    error_message = "Flux undoes what was changed by hand"
  }

  assert {
    # flip main.tf | name = "cluster" | name = "postroad"
    condition     = azurerm_arc_kubernetes_flux_configuration.this.name == "cluster"
    error_message = "Flux has one source of a name"
  }

  assert {
    # flip main.tf | scope = "cluster" | scope = "namespace"
    condition     = azurerm_arc_kubernetes_flux_configuration.this.scope == "cluster"
    error_message = "Flux may make what belongs to the whole cluster"
  }
}

run "to_be_connected" {
  command = plan

  assert {
    # flip main.tf | agent_public_key_certificate = var.agent_public_key | agent_public_key_certificate = "b3RoZXI="
    condition     = [for c in azurerm_arc_kubernetes_cluster.this : c.agent_public_key_certificate] == ["a2V5"]
    error_message = "a connected cluster is made"
  }
}

# flip main.tf | condition = var.agent_public_key != null | condition = var.agent_public_key != ""
run "no_key" {
  command = plan

  variables {
    agent_public_key = null
  }

  expect_failures = [azurerm_arc_kubernetes_cluster.this]
}
