# What a deployment may see of the cluster while it waits: run one command through
# Azure, and read what Flux says, which no role of Azure's own allows. It reads no
# Secret and changes nothing.
resource "azurerm_role_definition" "gate" {
  count = var.gate == null ? 0 : 1

  name        = "${var.prefix}-${var.name}-gate"
  scope       = join("/", slice(split("/", local.cluster_id), 0, 5))
  description = "Looks whether a deployment of Postroad runs."

  permissions {
    actions = [
      "Microsoft.ContainerService/managedClusters/read",
      "Microsoft.ContainerService/managedClusters/runCommand/action",
      "Microsoft.ContainerService/managedClusters/commandResults/read",
    ]
    data_actions     = ["Microsoft.ContainerService/managedClusters/*/read"]
    not_data_actions = ["Microsoft.ContainerService/managedClusters/secrets/read"]
  }
}

resource "azurerm_role_assignment" "gate" {
  count = var.gate == null ? 0 : 1

  scope              = local.cluster_id
  role_definition_id = azurerm_role_definition.gate[0].role_definition_resource_id
  principal_id       = var.gate.principal_id
  principal_type     = "ServicePrincipal"
}
