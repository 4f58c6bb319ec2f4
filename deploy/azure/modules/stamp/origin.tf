# What the front door reaches the stamp by without the internet. Its requests come
# from a subscription of Microsoft's own, so the connection is approved by hand,
# once: see docs/deploy/azure.md.
resource "azurerm_private_link_service" "origin" {
  count = try(var.origin.frontend_id, null) == null ? 0 : 1

  name                                        = "${var.name}-origin"
  resource_group_name                         = local.resource_group_name
  location                                    = var.location
  load_balancer_frontend_ip_configuration_ids = [var.origin.frontend_id]
  proxy_protocol_enabled                      = false
  tags                                        = local.tags

  nat_ip_configuration {
    name      = "primary"
    subnet_id = local.endpoint_subnet_id
    primary   = true
  }

  nat_ip_configuration {
    name      = "secondary"
    subnet_id = local.endpoint_subnet_id
    primary   = false
  }
}
