# The queue: what was accepted and is not in the hub yet is here and nowhere else.
resource "azurerm_storage_account" "queue" {
  name                     = "${var.prefix}${replace(var.name, "-", "")}q"
  resource_group_name      = local.resource_group_name
  location                 = var.location
  account_kind             = "FileStorage"
  account_tier             = "Premium"
  account_replication_type = var.share.replication
  tags                     = local.tags

  # NFS carries no TLS of its own, so Azure wants this off for it; the private
  # endpoint is what keeps it inside the VNet. SMB is encrypted by itself.
  https_traffic_only_enabled = var.share.protocol == "SMB"
  min_tls_version            = "TLS1_2"
  # SMB is mounted with the account's key; NFS with no secret at all.
  shared_access_key_enabled       = var.share.protocol == "SMB"
  public_network_access_enabled   = false
  allow_nested_items_to_be_public = false
  local_user_enabled              = false

  network_rules {
    default_action = "Deny"
    bypass         = ["None"]
  }

  share_properties {
    # A share that was deleted can be brought back for two weeks.
    retention_policy {
      days = 14
    }

    dynamic "smb" {
      for_each = var.share.protocol == "SMB" ? [1] : []

      content {
        versions                = ["SMB3.1.1"]
        channel_encryption_type = ["AES-128-GCM", "AES-256-GCM"]
        authentication_types    = ["NTLMv2"]
        multichannel_enabled    = true
      }
    }
  }

  lifecycle {
    precondition {
      condition     = var.environment != "prod" || var.share.replication == "ZRS"
      error_message = "share.replication: in prod ZRS. With LRS what was accepted goes with the one zone that holds it."
    }

    precondition {
      condition     = length("${var.prefix}${replace(var.name, "-", "")}q") <= 24
      error_message = "prefix and name together: at most 23 letters and digits, or the storage account's name is too long."
    }
  }
}

resource "azurerm_storage_share" "queue" {
  name               = "queue"
  storage_account_id = azurerm_storage_account.queue.id
  enabled_protocol   = var.share.protocol
  access_tier        = "Premium"
  quota              = var.share.gib
}

# Nobody deletes it by mistake, this code included, until the lock is taken away.
resource "azurerm_management_lock" "queue" {
  count = var.environment == "prod" ? 1 : 0

  name       = "queue"
  scope      = azurerm_storage_account.queue.id
  lock_level = "CanNotDelete"
  notes      = "Holds messages that were accepted and are not in the hub yet. See docs/deploy/backup-restore.md."
}

locals {
  file_dns_zone_id = try(var.existing_network.file_dns_zone_id, null) != null ? var.existing_network.file_dns_zone_id : azurerm_private_dns_zone.file[0].id
}

resource "azurerm_private_dns_zone" "file" {
  count = try(var.existing_network.file_dns_zone_id, null) == null ? 1 : 0

  name                = "privatelink.file.core.windows.net"
  resource_group_name = local.resource_group_name
  tags                = local.tags
}

resource "azurerm_private_dns_zone_virtual_network_link" "file" {
  count = try(var.existing_network.file_dns_zone_id, null) == null ? 1 : 0

  name                 = var.name
  private_dns_zone_id  = azurerm_private_dns_zone.file[0].id
  virtual_network_id   = local.vnet_id
  registration_enabled = false
  tags                 = local.tags
}

resource "azurerm_private_endpoint" "file" {
  name                = "${var.name}-queue"
  resource_group_name = local.resource_group_name
  location            = var.location
  subnet_id           = local.endpoint_subnet_id
  tags                = local.tags

  private_service_connection {
    name                           = "queue"
    private_connection_resource_id = azurerm_storage_account.queue.id
    subresource_names              = ["file"]
    is_manual_connection           = false
  }

  private_dns_zone_group {
    name                 = "file"
    private_dns_zone_ids = [local.file_dns_zone_id]
  }
}
