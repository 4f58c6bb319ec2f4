# One assertion for each property, with the changes ("# flip FILE | WAS | IS | N", N
# the occurrence) that have to make it fail; test/azure makes them.

mock_provider "azurerm" {}

variables {
  subscription_id   = "00000000-0000-0000-0000-000000000001"
  tenant_id         = "00000000-0000-0000-0000-000000000000"
  name              = "plantdev"
  repository        = "https://git.example.com/postroad"
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
}
