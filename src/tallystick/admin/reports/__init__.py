"""Reports of spend: activity by day, logs page by page, and the sums of the dashboards."""
