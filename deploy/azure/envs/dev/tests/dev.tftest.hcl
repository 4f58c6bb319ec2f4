# One assertion for each property, with the changes ("# flip FILE | WAS | IS | N", N
# the occurrence) that have to make it fail; test/azure makes them.

mock_provider "azurerm" {
  # What the provider looks at before it takes it.
  mock_resource "azurerm_cdn_frontdoor_custom_domain" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Cdn/profiles/made/customDomains/made"
    }
  }

  mock_resource "azurerm_cdn_frontdoor_route" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Cdn/profiles/made/afdEndpoints/made/routes/made"
    }
  }

  mock_resource "azurerm_container_registry_scope_map" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.ContainerRegistry/registries/madehere/scopeMaps/made"
    }
  }

  mock_resource "azurerm_role_definition" {
    defaults = {
      role_definition_resource_id = "/subscriptions/00000000-0000-0000-0000-000000000001/providers/Microsoft.Authorization/roleDefinitions/00000000-0000-0000-0000-00000000000a"
    }
  }

  mock_resource "azurerm_resource_group" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made"
    }
  }

  mock_resource "azurerm_log_analytics_workspace" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.OperationalInsights/workspaces/made"
    }
  }

  mock_resource "azurerm_container_registry" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.ContainerRegistry/registries/madehere"
    }
  }

  mock_resource "azurerm_eventhub_namespace" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.EventHub/namespaces/made"
    }
  }

  mock_resource "azurerm_eventhub" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.EventHub/namespaces/made/eventhubs/messages"
    }
  }

  mock_resource "azurerm_cdn_frontdoor_profile" {
    defaults = {
      id            = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Cdn/profiles/made"
      resource_guid = "00000000-0000-0000-0000-0000000000aa"
    }
  }

  mock_resource "azurerm_cdn_frontdoor_endpoint" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Cdn/profiles/made/afdEndpoints/made"
    }
  }

  mock_resource "azurerm_cdn_frontdoor_origin_group" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Cdn/profiles/made/originGroups/made"
    }
  }

  mock_resource "azurerm_cdn_frontdoor_origin" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Cdn/profiles/made/originGroups/made/origins/made"
    }
  }

  mock_resource "azurerm_cdn_frontdoor_firewall_policy" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Network/frontDoorWebApplicationFirewallPolicies/made"
    }
  }

  mock_resource "azurerm_monitor_action_group" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Insights/actionGroups/made"
    }
  }

  mock_resource "azurerm_virtual_network" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Network/virtualNetworks/made"
    }
  }

  mock_resource "azurerm_subnet" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Network/virtualNetworks/made/subnets/made"
    }
  }

  mock_resource "azurerm_network_security_group" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Network/networkSecurityGroups/made"
    }
  }

  mock_resource "azurerm_public_ip" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Network/publicIPAddresses/made"
    }
  }

  mock_resource "azurerm_web_application_firewall_policy" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Network/applicationGatewayWebApplicationFirewallPolicies/made"
    }
  }

  mock_resource "azurerm_application_gateway" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Network/applicationGateways/made"
    }
  }

  mock_resource "azurerm_user_assigned_identity" {
    defaults = {
      id           = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.ManagedIdentity/userAssignedIdentities/made"
      principal_id = "00000000-0000-0000-0000-000000000007"
      client_id    = "00000000-0000-0000-0000-000000000008"
    }
  }

  mock_resource "azurerm_kubernetes_cluster" {
    defaults = {
      id              = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.ContainerService/managedClusters/made"
      oidc_issuer_url = "https://issuer.example.com/made/"
    }
  }

  mock_resource "azurerm_storage_account" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Storage/storageAccounts/made"
    }
  }

  mock_resource "azurerm_key_vault" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.KeyVault/vaults/made"
    }
  }

  mock_resource "azurerm_private_dns_zone" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Network/privateDnsZones/made"
    }
  }

  mock_resource "azurerm_private_link_service" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/made/providers/Microsoft.Network/privateLinkServices/made"
    }
  }

  mock_data "azurerm_cdn_frontdoor_profile" {
    defaults = {
      sku_name      = "Premium_AzureFrontDoor"
      resource_guid = "00000000-0000-0000-0000-0000000000fd"
    }
  }

  mock_data "azurerm_kubernetes_cluster" {
    defaults = {
      oidc_issuer_enabled        = true
      oidc_issuer_url            = "https://issuer.example.com/"
      key_vault_secrets_provider = [{ secret_rotation_enabled = true, secret_rotation_interval = "2m", secret_identity = [] }]
      kubelet_identity = [{
        client_id                 = "00000000-0000-0000-0000-000000000003"
        object_id                 = "00000000-0000-0000-0000-000000000002"
        user_assigned_identity_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/theirs/providers/Microsoft.ManagedIdentity/userAssignedIdentities/kubelet"
      }]
    }
  }
}

variables {
  subscription_id   = "00000000-0000-0000-0000-000000000001"
  tenant_id         = "00000000-0000-0000-0000-000000000000"
  name              = "plantdev"
  admin_group_ids   = ["00000000-0000-0000-0000-000000000004"]
  api_server_ranges = ["192.0.2.0/24"]
  alert_emails      = { duty = "duty@example.com" }
  host              = "dev.example.com"
}

run "one_stamp" {
  command = plan

  assert {
    # flip main.tf | protocol = "SMB" | protocol = "NFS"
    # flip main.tf | replication = "LRS" | replication = "ZRS"
    condition     = module.stamp.share.protocol == "SMB" && module.stamp.share.replication == "LRS"
    error_message = "the other kind of share, in one zone"
  }

  assert {
    # flip main.tf | max_nodes = 3 | max_nodes = 5
    condition     = module.stamp.cluster.nodes[1] == 3
    error_message = "few nodes"
  }

  assert {
    # flip main.tf | cloud-dev = { host_name | other = { host_name
    condition     = keys(module.global.origins) == ["cloud-dev"]
    error_message = "one origin"
  }

  assert {
    # flip main.tf | var.repository == null ? null : { url = var.repository } | { url = "https://git.example.com/postroad" }
    condition     = module.stamp.flux_path == null
    error_message = "no Flux without a repository"
  }
}

run "with_flux" {
  command = plan

  variables {
    repository = "https://git.example.com/postroad"
  }

  assert {
    # flip main.tf | var.repository == null ? null : { url = var.repository } | null
    condition     = module.stamp.flux_path == "./deploy/gitops/clusters/cloud-dev"
    error_message = "Flux applies the stamp's own folder"
  }
}

run "existing" {
  command = plan

  variables {
    existing       = { frontdoor_profile_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/theirs/providers/Microsoft.Cdn/profiles/theirs" }
    stamp_existing = { resource_group_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/stamp" }
  }

  assert {
    # flip main.tf | frontdoor_id = module.global.frontdoor_id | frontdoor_id = "other"
    # flip main.tf | existing_frontdoor_profile_id = var.existing.frontdoor_profile_id | existing_frontdoor_profile_id = null
    condition     = module.stamp.application_gateway.lets_in == ["00000000-0000-0000-0000-0000000000fd"]
    error_message = "the stamp lets in the front door that is there, and no other"
  }

  assert {
    # flip main.tf | existing_resource_group_id = var.stamp_existing.resource_group_id | existing_resource_group_id = null
    condition     = module.stamp.share.resource_group == "stamp"
    error_message = "the stamp is made in the group that is there"
  }
}

run "existing_cluster" {
  command = plan

  variables {
    stamp_existing = { cluster_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/theirs/providers/Microsoft.ContainerService/managedClusters/theirs" }
  }

  assert {
    # flip main.tf | existing_cluster_id = var.stamp_existing.cluster_id | existing_cluster_id = try(replace(var.stamp_existing.cluster_id, "/theirs", "/other"), null)
    condition     = endswith(module.stamp.cluster_id, "/theirs")
    error_message = "the cluster that is there is used"
  }
}
