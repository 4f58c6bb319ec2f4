# A stamp in the cloud: network, cluster, identities, share, vault, alerts, and
# what the front door reaches it by. See ../../README.md.
terraform {
  required_version = ">= 1.9.0"

  required_providers {
    azurerm = {
      source  = "hashicorp/azurerm"
      version = "~> 5.2"
    }
  }
}
