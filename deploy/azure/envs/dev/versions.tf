terraform {
  required_version = ">= 1.9.0"

  required_providers {
    azurerm = {
      source = "hashicorp/azurerm"
      # What the tests were run with.
      version = "5.2.0"
    }
  }

  # Where the state is kept is said at init, by -backend-config; see ../../README.md.
  backend "azurerm" {
    use_oidc         = true
    use_azuread_auth = true
    key              = "postroad-dev.tfstate"
  }
}

provider "azurerm" {
  subscription_id     = var.subscription_id
  storage_use_azuread = true

  features {
    key_vault {
      purge_soft_delete_on_destroy = false
    }

    resource_group {
      prevent_deletion_if_contains_resources = true
    }
  }
}
