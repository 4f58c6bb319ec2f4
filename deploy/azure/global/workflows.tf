# Who pushes images and watches deployments: identities that a job of the repository
# has while it runs in one environment, and nobody else at any time.
locals {
  environments = var.workflows == null ? toset([]) : setunion(["release"], var.workflows.stamps)
}

resource "azurerm_user_assigned_identity" "workflow" {
  for_each = local.environments

  name                = "${var.name}-${var.environment}-${each.key}"
  resource_group_name = local.resource_group_name
  location            = var.location
  tags                = local.tags
}

resource "azurerm_federated_identity_credential" "workflow" {
  for_each = local.environments

  name                      = "repository"
  user_assigned_identity_id = azurerm_user_assigned_identity.workflow[each.key].id
  audience                  = ["api://AzureADTokenExchange"]
  issuer                    = var.workflows.issuer
  subject                   = "repo:${var.workflows.repository}:environment:${each.key}"
}

# A release pushes what stamps run; a deployment only asks for its digest.
resource "azurerm_role_assignment" "workflow_registry" {
  for_each = local.environments

  scope                = local.registry_id
  role_definition_name = each.key == "release" ? "AcrPush" : "AcrPull"
  principal_id         = azurerm_user_assigned_identity.workflow[each.key].principal_id
  principal_type       = "ServicePrincipal"
}

# A deployment watches what the front door's probes find.
resource "azurerm_role_assignment" "workflow_frontdoor" {
  for_each = setsubtract(local.environments, ["release"])

  scope                = local.frontdoor_profile_id
  role_definition_name = "Monitoring Reader"
  principal_id         = azurerm_user_assigned_identity.workflow[each.key].principal_id
  principal_type       = "ServicePrincipal"
}
