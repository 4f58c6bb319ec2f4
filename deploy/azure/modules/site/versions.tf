# A stamp on premises: its cluster as Azure Arc sees it, and what Flux applies
# there. See ../../README.md.
terraform {
  required_version = ">= 1.9.0"

  required_providers {
    azurerm = {
      source  = "hashicorp/azurerm"
      version = "~> 5.2"
    }
  }
}
