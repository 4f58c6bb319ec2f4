output "cluster_id" {
  description = "The connected cluster."
  value       = local.cluster_id
}
