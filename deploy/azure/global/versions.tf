# What all stamps share: the front door, the registry, the hub, and where their
# logs go. See ../README.md.
terraform {
  required_version = ">= 1.9.0"

  required_providers {
    azurerm = {
      source  = "hashicorp/azurerm"
      version = "~> 5.2"
    }
  }
}
