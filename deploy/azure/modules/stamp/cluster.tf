locals {
  makes_cluster = var.existing_cluster_id == null
  cluster_id    = local.makes_cluster ? azurerm_kubernetes_cluster.this[0].id : var.existing_cluster_id
  issuer        = local.makes_cluster ? azurerm_kubernetes_cluster.this[0].oidc_issuer_url : data.azurerm_kubernetes_cluster.existing[0].oidc_issuer_url
  kubelet       = local.makes_cluster ? azurerm_user_assigned_identity.kubelet[0].principal_id : data.azurerm_kubernetes_cluster.existing[0].kubelet_identity[0].object_id
}

data "azurerm_kubernetes_cluster" "existing" {
  count = local.makes_cluster ? 0 : 1

  name                = split("/", var.existing_cluster_id)[8]
  resource_group_name = split("/", var.existing_cluster_id)[4]

  lifecycle {
    postcondition {
      condition     = self.oidc_issuer_enabled && length(self.key_vault_secrets_provider) > 0
      error_message = "existing_cluster_id: a cluster with an OIDC issuer and the Key Vault CSI driver."
    }
  }
}

# The cluster's own identity: it makes load balancers in the subnets, and nothing
# elsewhere.
resource "azurerm_user_assigned_identity" "cluster" {
  count = local.makes_cluster ? 1 : 0

  name                = "${var.name}-cluster"
  resource_group_name = local.resource_group_name
  location            = var.location
  tags                = local.tags
}

# The nodes' identity. It is there before they are, and so is what it may: the first
# pod can be pulled.
resource "azurerm_user_assigned_identity" "kubelet" {
  count = local.makes_cluster ? 1 : 0

  name                = "${var.name}-nodes"
  resource_group_name = local.resource_group_name
  location            = var.location
  tags                = local.tags
}

# The cluster gives that identity to its nodes.
resource "azurerm_role_assignment" "kubelet" {
  count = local.makes_cluster ? 1 : 0

  scope                = azurerm_user_assigned_identity.kubelet[0].id
  role_definition_name = "Managed Identity Operator"
  principal_id         = azurerm_user_assigned_identity.cluster[0].principal_id
  principal_type       = "ServicePrincipal"
}

resource "azurerm_role_assignment" "cluster_subnets" {
  for_each = local.makes_cluster ? {
    nodes     = local.nodes_subnet_id
    endpoints = local.endpoint_subnet_id
  } : {}

  scope                = each.value
  role_definition_name = "Network Contributor"
  principal_id         = azurerm_user_assigned_identity.cluster[0].principal_id
  principal_type       = "ServicePrincipal"
}

resource "azurerm_kubernetes_cluster" "this" {
  count = local.makes_cluster ? 1 : 0

  name                = var.name
  resource_group_name = local.resource_group_name
  location            = var.location
  dns_prefix          = "${var.prefix}-${var.name}"
  kubernetes_version  = var.cluster.version
  sku_tier            = "Standard"
  tags                = local.tags

  # Only what Entra ID lets in; no certificate of an administrator lies about.
  local_account_disabled            = true
  role_based_access_control_enabled = true
  private_cluster_enabled           = var.cluster.private

  oidc_issuer_enabled       = true
  workload_identity_enabled = true

  automatic_upgrade_channel = "patch"
  node_os_upgrade_channel   = "NodeImage"

  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.cluster[0].id]
  }

  kubelet_identity {
    client_id                 = azurerm_user_assigned_identity.kubelet[0].client_id
    object_id                 = azurerm_user_assigned_identity.kubelet[0].principal_id
    user_assigned_identity_id = azurerm_user_assigned_identity.kubelet[0].id
  }

  azure_active_directory_role_based_access_control {
    tenant_id              = var.tenant_id
    azure_rbac_enabled     = true
    admin_group_object_ids = var.cluster.admin_group_ids
  }

  default_node_pool {
    name                        = "system"
    temporary_name_for_rotation = "rotate"
    vm_size                     = var.cluster.vm_size
    vnet_subnet_id              = local.nodes_subnet_id
    zones                       = var.cluster.zones
    auto_scaling_enabled        = true
    min_count                   = var.cluster.min_nodes
    max_count                   = var.cluster.max_nodes
    os_sku                      = "AzureLinux3"
    tags                        = local.tags

    # One node at a time, given longer than any pod of ours takes to drain.
    upgrade_settings {
      max_surge                = "1"
      drain_timeout_in_minutes = 30
    }
  }

  # The cluster autoscaler above is what adds nodes.
  node_provisioning_profile {
    mode = "Manual"
  }

  # Policies in the cluster are enforced, and pods take no address of the VNet.
  network_profile {
    network_plugin      = "azure"
    network_plugin_mode = "overlay"
    network_data_plane  = "cilium"
    network_policy      = "cilium"
    load_balancer_sku   = "standard"
    outbound_type       = "loadBalancer"
  }

  key_vault_secrets_provider {
    secret_rotation_enabled  = true
    secret_rotation_interval = "2m"
  }

  storage_profile {
    file_driver_enabled = true
  }

  workload_autoscaler_profile {
    keda_enabled = var.cluster.keda
  }

  dynamic "api_server_access_profile" {
    for_each = length(var.cluster.api_server_ranges) > 0 ? [1] : []

    content {
      authorized_ip_ranges = var.cluster.api_server_ranges
    }
  }

  dynamic "ingress_application_gateway" {
    for_each = var.application_gateway ? [1] : []

    content {
      gateway_id = azurerm_application_gateway.this[0].id
    }
  }

  dynamic "oms_agent" {
    for_each = var.log_workspace == null ? [] : [var.log_workspace]

    content {
      log_analytics_workspace_id      = oms_agent.value.id
      msi_auth_for_monitoring_enabled = true
    }
  }

  # Four hours a week, on another day than the other stamp.
  maintenance_window_auto_upgrade {
    frequency   = "Weekly"
    interval    = 1
    day_of_week = var.cluster.upgrade_day
    start_time  = "02:00"
    utc_offset  = "+00:00"
    duration    = 4
  }

  maintenance_window_node_os {
    frequency   = "Weekly"
    interval    = 1
    day_of_week = var.cluster.upgrade_day
    start_time  = "02:00"
    utc_offset  = "+00:00"
    duration    = 4
  }

  lifecycle {
    precondition {
      condition     = var.environment != "prod" || length(distinct(var.cluster.zones)) == 3
      error_message = "cluster.zones: in prod nodes stand in three zones."
    }

    precondition {
      condition     = var.environment != "prod" || var.cluster.min_nodes >= 3
      error_message = "cluster.min_nodes: in prod 3 or more, one in each zone."
    }
  }

  depends_on = [azurerm_role_assignment.cluster_subnets, azurerm_role_assignment.kubelet, azurerm_role_assignment.pull]
}

# Nodes pull, and may do nothing else in the registry.
resource "azurerm_role_assignment" "pull" {
  count = var.registry == null ? 0 : 1

  scope                            = var.registry.id
  role_definition_name             = "AcrPull"
  principal_id                     = local.kubelet
  principal_type                   = "ServicePrincipal"
  skip_service_principal_aad_check = true
}

resource "azurerm_monitor_diagnostic_setting" "cluster" {
  count = local.makes_cluster && var.log_workspace != null ? 1 : 0

  name                       = "postroad"
  target_resource_id         = azurerm_kubernetes_cluster.this[0].id
  log_analytics_workspace_id = var.log_workspace.id

  enabled_log {
    category = "kube-audit-admin"
  }

  enabled_log {
    category = "guard"
  }

  enabled_metric {
    category = "AllMetrics"
  }
}
